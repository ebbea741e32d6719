//go:build linux

// Command soak runs the fault matrix for long: every case with many seeds, in a loop that can be ended and gone on with.
//
//	go run ./internal/faults/soak -seeds 20 -minutes 60
//
// A result is a line of JSON in the file -out, written when its run ends. What the file has already is not run again, so a
// soak that was interrupted goes on where it was. At the end, and with -table at once, it prints the table of fault × seeds × result. It exits with 1 if a run failed.
//
// A run is repeated with: go run ./internal/faults/soak -case NAME -seed SEED -out again.ndjson
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/internal/faults"
)

func main() {
	if engine.Child() {
		return
	}
	if code, again := faults.AsRoot(); again {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// soak is what was asked for.
type soak struct {
	bin, dir string
	out      string // file of the results
	done     []faults.Result
	until    time.Time // zero: no limit
	scale    faults.Scale
	verbose  bool
}

func run(ctx context.Context) (ok bool, err error) {
	seeds := flag.Int("seeds", 20, "runs of each case")
	minutes := flag.Int("minutes", 0, "begin no run after so long; 0: no limit")
	out := flag.String("out", "soak.ndjson", "file of the results")
	only := flag.String("case", "", "only the cases that match this regular expression")
	seed := flag.Uint64("seed", 0, "only this seed")
	short := flag.Bool("short", false, "as much of each fault as in make test")
	table := flag.Bool("table", false, "print the table of what the file has, and run nothing")
	verbose := flag.Bool("v", false, "tell the story of every run, not only of those that fail")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		return false, err
	}
	s := soak{out: *out, scale: faults.Scale{Long: !*short}, verbose: *verbose || *seed != 0}
	if s.done, err = read(*out); err != nil {
		return false, err
	}
	if *table {
		return s.table(os.Stdout), nil
	}
	if *minutes > 0 {
		s.until = time.Now().Add(time.Duration(*minutes) * time.Minute)
	}
	if s.dir, err = os.MkdirTemp("", "cockpit-soak-"); err != nil {
		return false, err
	}
	defer func() {
		_ = os.Remove(s.bin)
		_ = os.Remove(s.dir) // which stays when a run that failed left something in it
	}()
	if s.bin, err = faults.Build(ctx, s.dir); err != nil {
		return false, err
	}
	from, to := uint64(1), uint64(*seeds)
	if *seed != 0 {
		from, to = *seed, *seed
	}
	if err := s.run(ctx, match, from, to); err != nil {
		return false, err
	}
	return s.table(os.Stdout), nil
}

// run goes through the cases seed by seed, so that a soak that ends early has had as many seeds of one as of another.
func (s *soak) run(ctx context.Context, match *regexp.Regexp, from, to uint64) error {
	var cases []faults.Case
	for _, c := range faults.Cases() {
		if match.MatchString(c.Name) {
			cases = append(cases, c)
		}
	}
	total, n := len(cases)*int(to-from+1), 0
	for seed := from; seed <= to; seed++ {
		for _, c := range cases {
			n++
			if slices.ContainsFunc(s.done, func(r faults.Result) bool { return r.Case == c.Name && r.Seed == seed }) {
				continue
			}
			if ctx.Err() != nil || !s.until.IsZero() && time.Now().After(s.until) {
				return nil
			}
			var story strings.Builder
			var to io.Writer = &story
			if s.verbose {
				to = os.Stdout
			}
			r := c.Run(ctx, s.bin, s.dir, seed, s.scale, to)
			if ctx.Err() != nil {
				return nil
			}
			fmt.Printf("%s  %d/%d  %-28s seed %-3d %s  useful again after %.1f s, %.0f s in all\n", time.Now().UTC().Format(time.TimeOnly), n, total, c.Name, seed, verdict(r), r.RecoverySeconds, r.Seconds)
			if !r.Green {
				fmt.Printf("%s%s\n", &story, r.Error)
			}
			if err := s.add(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func verdict(r faults.Result) string {
	if r.Green {
		return "green"
	}
	return "FAILED"
}

func (s *soak) add(r faults.Result) error {
	s.done = append(s.done, r)
	f, err := os.OpenFile(s.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(r)
}

func read(path string) (list []faults.Result, err error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r faults.Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, r)
	}
	return list, lines.Err()
}

// table prints a line for each case, and says whether all runs were green.
func (s *soak) table(out io.Writer) (ok bool) {
	ok = true
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "| fault\t case\t runs\t fired\t green\t useful again, median and most (s)\t seeds that failed\t")
	fmt.Fprintln(w, "|---\t---\t---\t---\t---\t---\t---\t")
	for _, c := range faults.Cases() {
		var runs, fired, green int
		var took []float64
		failed := "-"
		for _, r := range s.done {
			if r.Case != c.Name {
				continue
			}
			runs++
			if r.Fired {
				fired++
			}
			if r.Green {
				green++
				took = append(took, r.RecoverySeconds)
			} else {
				failed = strings.TrimPrefix(failed+" ", "- ") + fmt.Sprint(r.Seed)
			}
		}
		if runs == 0 {
			continue
		}
		ok = ok && green == runs
		again := "-"
		if slices.Sort(took); len(took) > 0 && took[len(took)-1] > 0 {
			again = fmt.Sprintf("%.1f, %.1f", took[len(took)/2], took[len(took)-1])
		}
		fmt.Fprintf(w, "| %s\t %s\t %d\t %d\t %d\t %s\t %s\t\n", c.Row, c.Name, runs, fired, green, again, failed)
	}
	_ = w.Flush()
	return ok
}
