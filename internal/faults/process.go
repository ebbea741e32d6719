//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
)

// process is a `cockpit serve` that is started again when it ends, as any supervisor would, and then without its faults.
type process struct {
	w       *World
	name    string // also of its log
	modules string
	address string
	env     []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // of cmd
	faults string        // of the next start
	closed bool
	kept   chan struct{} // closed when nobody starts it again
}

// serve runs a process with modules, and has the faults happen in it that the list names (see internal/faultpoint).
func (w *World) serve(name, modules, faults string, env ...string) (*process, error) {
	port, err := engine.FreePort()
	if err != nil {
		return nil, err
	}
	p := &process{w: w, name: name, modules: modules, address: fmt.Sprint("127.0.0.1:", port), env: env, faults: faults, kept: make(chan struct{})}
	if err := p.start(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.processes[name] = p
	w.mu.Unlock()
	go p.keep()
	return p, nil
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := p.w.command("serve", "--modules="+p.modules)
	cmd.Env = append(append(cmd.Env, "COCKPIT_LISTEN="+p.address, "COCKPIT_FAULTS="+p.faults, "COCKPIT_FAULTS_LOG="+p.w.faultLog()), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	p.faults = ""
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal comes when the starting thread ends
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	p.cmd, p.exited = cmd, exited
	return <-started
}

func (p *process) logFile() string { return filepath.Join(p.w.dir, p.name+".log") }

func (p *process) keep() {
	defer close(p.kept)
	for {
		p.mu.Lock()
		exited := p.exited
		p.mu.Unlock()
		<-exited
		time.Sleep(startRetry)
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		if err := p.start(); err != nil {
			p.w.logf("%s does not start: %v", p.name, err)
			return
		}
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func (p *process) signal(s syscall.Signal) error { return syscall.Kill(p.pid(), s) }

// living calls f while the process runs; one that has ended is waited for, since it is started again.
func (p *process) living(f func() error) error {
	for {
		p.mu.Lock()
		select {
		case <-p.exited:
			p.mu.Unlock()
			time.Sleep(startRetry / 10)
		default:
			defer p.mu.Unlock()
			return f()
		}
	}
}

// kill ends the process at once; it comes back by itself.
func (p *process) kill() error {
	var exited chan struct{}
	if err := p.living(func() error {
		exited = p.exited
		return p.cmd.Process.Signal(syscall.SIGKILL)
	}); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-exited
	return nil
}

// plant restarts the process in order, with faults.
func (p *process) plant(faults string) error {
	err := p.living(func() error {
		p.faults = faults
		return p.cmd.Process.Signal(syscall.SIGTERM)
	})
	if errors.Is(err, os.ErrProcessDone) { // it is about to start again
		return nil
	}
	return err
}

// close ends the process in order, for good; it is killed when that takes long.
func (p *process) close() error {
	p.mu.Lock()
	p.closed = true
	exited := p.exited
	p.mu.Unlock()
	_ = p.signal(syscall.SIGCONT)
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.kept:
		return nil
	case <-time.After(closeTimeout):
		_ = p.signal(syscall.SIGKILL)
		<-exited
		<-p.kept
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, closeTimeout)
	}
}

const closeTimeout = 90 * time.Second // a batch that was begun is finished for up to a minute

// stopped says whether the process was stopped by a signal.
func (p *process) stopped() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "T")
}

// memoryMax is the most resident memory that the process ever had.
func (p *process) memoryMax() (bytes int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}

// get reads a page of the process's HTTP server.
func (p *process) get(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// metric reads one of the process's counters or gauges.
func (p *process) metric(ctx context.Context, name string) (float64, error) {
	_, page, err := p.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", p.name, name)
}

// logged counts the lines of the process's log that contain text.
func (p *process) logged(text string) int {
	log, err := os.ReadFile(p.logFile())
	if err != nil {
		return 0
	}
	return strings.Count(string(log), text)
}
