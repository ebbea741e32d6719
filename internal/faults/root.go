//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// AsRoot runs this program again, where it is not root, in namespaces of its own in which it is: only root mounts the small
// disks that are to become full. A program that runs worlds calls it first; again says that it ran, and how it ended.
func AsRoot() (code int, again bool) {
	if os.Geteuid() == 0 {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	signal.Ignore(os.Interrupt) // the terminal sends it to both
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		fmt.Fprintf(os.Stderr, "small disks need root, or user namespaces: %v\n", err)
		return 1, true
	}
	return cmd.ProcessState.ExitCode(), true
}
