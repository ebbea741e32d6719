package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running engine.
type Process struct {
	Name string
	URL  string // how clients reach it

	cmd    *exec.Cmd
	stdin  io.Closer // its end tells our own children to stop
	exited chan struct{}
	err    error // of Wait, once exited is closed
	stop   os.Signal
}

// Exited is closed when the process has ended, wanted or not.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Port is the port that it listens on.
func (p *Process) Port() int {
	address := strings.TrimSuffix(p.URL, "/postgres")
	n, err := strconv.Atoi(address[strings.LastIndex(address, ":")+1:])
	if err != nil {
		panic("BUG: an engine without a port: " + p.URL)
	}
	return n
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the engine to end, waits, and kills it after 20 s.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(p.stop)
	select {
	case <-p.exited:
		return nil
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not stop within 20 s and was killed", p.Name)
	}
}

// start runs cmd with its output in a log file below dir, bound to the life of this process.
func start(name, dir string, cmd *exec.Cmd, stop os.Signal) (*Process, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	dieWithParent(cmd)
	p := &Process{Name: name, cmd: cmd, stdin: stdin, exited: make(chan struct{}), stop: stop}
	started := make(chan error)
	go func() {
		// The parent-death signal comes when the starting thread ends, so that thread is kept.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// failed is the error of an engine that did not come up, with the end of its log.
func failed(name, dir string, err error) error {
	text, _ := os.ReadFile(filepath.Join(dir, name+".log"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return fmt.Errorf("%s did not start: %w\n%s", name, err, strings.Join(lines, "\n"))
}

// startSelf runs this program as an engine (Child) and waits for the address that it prints.
func startSelf(ctx context.Context, name, logs string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childMark+"="+name)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = in
	p, err := start(name, logs, cmd, syscall.SIGTERM)
	in.Close()
	if err != nil {
		return nil, err
	}
	address := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		address <- strings.TrimSpace(line)
	}()
	select {
	case p.URL = <-address:
		if p.URL != "" {
			return p, nil
		}
		err = errors.New("it ended")
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = p.Stop()
	return nil, failed(name, logs, err)
}

// Self runs this program with arguments as a child that ends with this process, its output in a log file below dir.
func Self(name, dir string, env []string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), env...)
	return start(name, dir, cmd, syscall.SIGTERM)
}
