//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Case is one fault of the matrix.
type Case struct {
	Name  string
	Row   string // of the matrix
	Short bool   // it is among those that `make test` runs
	set   func(*config)
	run   func(ctx context.Context, w *World, s Scale) error
}

// Scale says how much of a fault there is.
type Scale struct {
	Long bool
}

// times is how often something is done.
func (s Scale) times(short, long int) int {
	if s.Long {
		return long
	}
	return short
}

// duration is how long something goes on.
func (s Scale) duration(short, long time.Duration) time.Duration {
	if s.Long {
		return long
	}
	return short
}

// Cases is the matrix.
func Cases() []Case {
	var all []Case
	for _, list := range [][]Case{kills(), owners(), commits(), clickhouses(), disks(), inputs(), overloads(), logs()} {
		all = append(all, list...)
	}
	return all
}

// Result is what became of a run.
type Result struct {
	Case            string  `json:"case"`
	Row             string  `json:"row"`
	Seed            uint64  `json:"seed"`
	Fired           bool    `json:"fired"`
	Proof           string  `json:"proof"` // that it fired
	Green           bool    `json:"green"` // settled, everything accepted charged once, verify green
	RecoverySeconds float64 `json:"recovery_seconds"`
	Seconds         float64 `json:"seconds"`
	Error           string  `json:"error,omitempty"`
	Dir             string  `json:"dir,omitempty"` // what is left of a run that failed
}

// Run runs the case with a seed, below dir, and tells its story on out. bin is the program, built with the tag faults.
func (c Case) Run(ctx context.Context, bin, dir string, seed uint64, s Scale, out io.Writer) Result {
	r := Result{Case: c.Name, Row: c.Row, Seed: seed}
	begin := time.Now()
	w, err := c.world(ctx, bin, dir, seed, s, out)
	if w != nil {
		r.Fired, r.Proof, r.RecoverySeconds = len(w.fired) > 0, strings.Join(w.fired, "; "), w.recovery.Seconds()
		r.Dir = w.dir
	}
	if err == nil && !r.Fired {
		err = errors.New("the fault can't be shown to have fired")
	}
	r.Green, r.Seconds = err == nil, time.Since(begin).Seconds()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Dir = ""
	if err := os.RemoveAll(w.dir); err != nil {
		r.Error = err.Error()
	}
	return r
}

// world makes a world, breaks it, and returns what was wrong afterwards.
func (c Case) world(ctx context.Context, bin, dir string, seed uint64, s Scale, out io.Writer) (*World, error) {
	fmt.Fprintf(out, "%s, seed %d\n", c.Name, seed)
	cfg := config{partitions: 4, metering: 2, senders: 3, faults: map[string]string{}}
	if c.set != nil {
		c.set(&cfg)
	}
	place, err := os.MkdirTemp(dir, strings.ReplaceAll(c.Name, "/", "-")+"-")
	if err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, bin, place, seed, cfg, out)
	if err != nil {
		return w, fmt.Errorf("make a world: %w", err)
	}
	w.logf("ready")
	return w, errors.Join(c.run(ctx, w, s), w.close())
}

// Build makes the program with faults in it, below dir.
func Build(ctx context.Context, dir string) (bin string, err error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	bin = filepath.Join(dir, "cockpit")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", bin, "./cmd/cockpit")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return bin, nil
}
