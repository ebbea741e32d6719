// Command fuzz runs every fuzz target of the repository in turn, each for its share of the time, and prints a table of
// what each did (make fuzz).
//
// It owns no state: inputs that reach new code are kept in Go's build cache, from which the next run goes on, and an input
// that fails is written by `go test` to the testdata/fuzz of its package, where it fails every later test until it is fixed.
// A target that fails does not stop the others; the exit code is 1 if one did.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// minimizing an input takes at most so many tries: with a worker or two, Go's default of a minute for each would be most of the time.
const minimizeTries = "200x"

// target is a fuzz function of a package.
type target struct{ pkg, name string }

// outcome is what a run of a target did.
type outcome struct {
	target
	execs, interesting, corpus int64
	seconds                    float64
	failed                     bool
	ended                      bool // by Go's own deadline, which it reports as a failure when it comes in the middle of an input
	found                      bool // an input that fails
}

func main() {
	minutes := flag.Float64("minutes", 10, "for all targets together")
	parallel := flag.Int("parallel", 1, "workers of a target")
	only := flag.String("run", ".", "the targets whose package and name match")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, *minutes, *parallel, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, minutes float64, parallel int, only string) (ok bool, err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	targets, err := list(ctx, match)
	if err != nil {
		return false, fmt.Errorf("list the targets: %w", err)
	}
	if len(targets) == 0 {
		return false, fmt.Errorf("no target matches %q", only)
	}
	share := time.Duration(minutes * float64(time.Minute) / float64(len(targets))).Round(time.Second)
	ok = true
	var rows []outcome
	for i, t := range targets {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(os.Stderr, "[%d/%d] %s %s, %v\n", i+1, len(targets), t.pkg, t.name, share)
		o := fuzz(ctx, t, share, parallel)
		rows, ok = append(rows, o), ok && !o.failed
	}
	table(os.Stdout, rows)
	return ok, nil
}

// list asks each package for its targets.
func list(ctx context.Context, match *regexp.Regexp) ([]target, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}} {{.Dir}} {{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}`, "./...").Output()
	if err != nil {
		return nil, err
	}
	fuzzFunc := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	var targets []target
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		for _, file := range words[2:] {
			text, err := os.ReadFile(words[1] + "/" + file)
			if err != nil {
				return nil, err
			}
			for _, m := range fuzzFunc.FindAllStringSubmatch(string(text), -1) {
				if t := (target{words[0], m[1]}); match.MatchString(t.pkg + " " + t.name) {
					targets = append(targets, t)
				}
			}
		}
	}
	return targets, nil
}

// fuzz runs one target, showing what it says.
func fuzz(ctx context.Context, t target, share time.Duration, parallel int) outcome {
	o := outcome{target: t}
	began := time.Now()
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", share.String(),
		"-fuzzminimizetime", minimizeTries, "-parallel", strconv.Itoa(parallel), t.pkg)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		o.follow(out)
		err = c.Wait()
	}
	if o.failed = err != nil && ctx.Err() == nil && (o.found || !o.ended); o.failed {
		fmt.Fprintln(os.Stderr, t.name, "failed:", err)
	}
	o.seconds = time.Since(began).Seconds()
	return o
}

var progress = regexp.MustCompile(`^fuzz: elapsed: .*execs: (\d+) .*new interesting: (\d+) \(total: (\d+)\)`)

// follow reads the last figures of a run, and shows some of them: every line would be one in three seconds.
func (o *outcome) follow(out io.Reader) {
	shown := time.Now()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		m := progress.FindStringSubmatch(lines.Text())
		o.ended = o.ended || strings.TrimSpace(lines.Text()) == "context deadline exceeded"
		o.found = o.found || strings.Contains(lines.Text(), "Failing input written")
		if m == nil || time.Since(shown) > 30*time.Second {
			fmt.Fprintln(os.Stderr, "   ", lines.Text())
			shown = time.Now()
		}
		if m != nil {
			o.execs, _ = strconv.ParseInt(m[1], 10, 64)
			o.interesting, _ = strconv.ParseInt(m[2], 10, 64)
			o.corpus, _ = strconv.ParseInt(m[3], 10, 64)
		}
	}
}

func table(w io.Writer, rows []outcome) {
	fmt.Fprintln(w, "| target | seconds | executions | new interesting | corpus | result |\n|---|---:|---:|---:|---:|---|")
	for _, o := range rows {
		result := "ok"
		if o.failed {
			result = "FAILED"
		}
		_, dir, _ := strings.Cut(o.pkg, "cockpit/")
		fmt.Fprintf(w, "| `%s` `%s` | %.0f | %d | %d | %d | %s |\n", dir, o.name, o.seconds, o.execs, o.interesting, o.corpus, result)
	}
}
