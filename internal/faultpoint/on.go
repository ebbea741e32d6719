//go:build faults

package faultpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is what happens at a point.
type fault struct {
	name string
	nth  int // 0: at every hit
	act  string
}

var (
	faults = sync.OnceValue(func() []fault {
		list, err := parse(os.Getenv("COCKPIT_FAULTS"))
		if err != nil {
			panic(err)
		}
		return list
	})
	mu   sync.Mutex
	hits = map[string]int{}
)

func parse(text string) (list []fault, err error) {
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			continue
		}
		parts := strings.SplitN(item, ":", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("COCKPIT_FAULTS: %q is not name:nth:action", item)
		}
		f := fault{name: parts[0], act: parts[2]}
		if parts[1] != "*" {
			if f.nth, err = strconv.Atoi(parts[1]); err != nil || f.nth < 1 {
				return nil, fmt.Errorf("COCKPIT_FAULTS: %q is no number of a hit", parts[1])
			}
		}
		if _, _, err := f.parsed(); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// parsed gives the signal to send to this process, or how long to sleep.
func (f fault) parsed() (syscall.Signal, time.Duration, error) {
	switch pause, isSleep := strings.CutPrefix(f.act, "sleep="); {
	case f.act == "kill":
		return syscall.SIGKILL, 0, nil
	case f.act == "stop":
		return syscall.SIGSTOP, 0, nil
	case isSleep:
		d, err := time.ParseDuration(pause)
		return 0, d, err
	}
	return 0, 0, fmt.Errorf("COCKPIT_FAULTS: there is no action %q", f.act)
}

// Hit does what the environment says is to happen at this point.
func Hit(name string) {
	for _, f := range faults() {
		if f.name == name {
			f.hit()
		}
	}
}

func (f fault) hit() {
	mu.Lock()
	hits[f.name]++
	n := hits[f.name]
	mu.Unlock()
	if f.nth != 0 && n != f.nth {
		return
	}
	signal, pause, _ := f.parsed()
	if f.nth != 0 || n == 1 {
		record(f)
	}
	if signal != 0 {
		_ = syscall.Kill(os.Getpid(), signal)
		// A signal to oneself is taken at the latest when the kernel is left again, but perhaps by another thread.
		pause = 100 * time.Millisecond
	}
	time.Sleep(pause)
}

func record(f fault) {
	log, err := os.OpenFile(os.Getenv("COCKPIT_FAULTS_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(log, "%s %d %s\n", f.name, os.Getpid(), f.act)
		log.Close()
	}
	if err != nil {
		panic("a fault that can't be shown to have fired: " + err.Error())
	}
}
