//go:build !linux

package engine

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func unprivileged(*exec.Cmd, func(uid, gid int) error) error {
	if os.Geteuid() == 0 {
		return errors.New("Postgres does not run as root: run as an ordinary user")
	}
	return nil
}
