package engine

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the parent, which stops its children in order
}

// unprivileged makes a command that root starts not run as root. own gives it the directories that it writes to.
func unprivileged(cmd *exec.Cmd, own func(uid, gid int) error) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid := nobody()
	mapped := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: 0, Size: 1}}}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = mapped
	if probe.Run() == nil {
		attr := *mapped
		cmd.SysProcAttr = &attr
		return nil
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return own(uid, gid)
}

func nobody() (uid, gid int) {
	const overflow = 65534
	u, err := user.Lookup("nobody")
	if err != nil {
		return overflow, overflow
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}
