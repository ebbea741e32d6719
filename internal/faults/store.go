//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
)

const (
	startTimeout = time.Minute
	startRetry   = 200 * time.Millisecond
)

// store is an engine that is started again at the same port when it ends, unless it is held down.
type store struct {
	name string
	run  func(ctx context.Context, port int) (*engine.Process, error)
	dir  string // its data

	mu      sync.Mutex
	process *engine.Process
	down    bool // it is to stay away
	closed  bool
	kept    sync.WaitGroup
}

func (s *store) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := s.run(ctx, 0)
	if err != nil {
		return err
	}
	s.process = p
	s.kept.Go(s.keep)
	return nil
}

func (s *store) current() *engine.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// keep starts the store again whenever it ends.
func (s *store) keep() {
	for {
		<-s.current().Exited()
		for {
			s.mu.Lock()
			down, closed, port := s.down, s.closed, s.process.Port()
			s.mu.Unlock()
			if closed {
				return
			}
			if !down && s.again(port) == nil {
				break
			}
			time.Sleep(startRetry)
		}
	}
}

func (s *store) again(port int) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, err := s.run(ctx, port)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	return nil
}

func (s *store) hold(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
}

// kill ends the store at once, and waits until it has ended.
func (s *store) kill() error {
	p := s.current()
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	<-p.Exited()
	return nil
}

func (s *store) signal(sig syscall.Signal) error { return syscall.Kill(s.current().PID(), sig) }

func (s *store) close() error {
	s.mu.Lock()
	s.closed = true
	p := s.process
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	_ = syscall.Kill(p.PID(), syscall.SIGCONT)
	err := p.Stop()
	s.kept.Wait()
	if last := s.current(); last != p {
		err = errors.Join(err, last.Stop())
	}
	return err
}
