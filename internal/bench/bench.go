// Package bench measures the gates of the project's performance goals, as ratios against honest baselines in the same run.
//
// Baseline and ours alternate (A B A B …), so that a machine that is noisy is noisy to both; what is printed is both
// medians, the ratio of the medians and the spread of the rounds' ratios. Broker and Postgres are processes of their own on
// the same machine, with fsync on. Nothing here is asserted: machines differ.
//
// Map: bench.go (rounds and results), stores.go (Kafka, Postgres, the directory, the events), durable.go (P1, P2), pure.go
// (P5, P7), window.go (P6, P14).
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"time"
)

// Options say what to measure.
type Options struct {
	Events   int // in Kafka, for P1 and P2
	Rounds   int
	Accounts int
	Users    int // of each account
	Progress io.Writer
	Profile  string // a file for a CPU profile of ours, of the last round; empty: none
}

// Partitions and workers of P1 and P2.
const partitions = 6

// Result is a gate's outcome. Rates are events (or operations) a second.
type Result struct {
	Gate     string  `json:"gate"`
	Ours     float64 `json:"ours_per_second"`
	Baseline float64 `json:"baseline_per_second"`
	Ratio    float64 `json:"ratio"`
	Low      float64 `json:"ratio_low"`
	High     float64 `json:"ratio_high"`
	Goal     float64 `json:"goal"`
	Verdict  string  `json:"verdict"` // reached, missed, or noise
	Settings string  `json:"settings"`
}

// gate measures one gate.
type gate struct {
	goal     float64
	settings string
	baseline func(context.Context) (perSecond float64, err error)
	ours     func(context.Context) (perSecond float64, err error)
}

// Gates are the names that Run knows, in order.
var Gates = []string{"P1", "P2", "P5", "P6", "P7", "P14"}

// Run measures the named gates.
func Run(ctx context.Context, names []string, o Options) ([]Result, error) {
	var out []Result
	var stores *stores
	defer func() {
		if stores != nil {
			stores.close()
		}
	}()
	for _, name := range names {
		var g gate
		var err error
		switch name {
		case "P1", "P2":
			if stores == nil {
				if stores, err = open(ctx, o, partitions); err != nil {
					return out, err
				}
			}
			g = durable(stores, o, name)
		case "P5":
			g = decoding()
		case "P6":
			g = inserting(o)
		case "P7":
			g = pricing()
		case "P14":
			var t *takeover
			if t, err = openTakeover(ctx, o); err != nil {
				return out, err
			}
			defer t.close()
			g = t.gate()
		default:
			return out, fmt.Errorf("there is no gate %q (%v)", name, Gates)
		}
		r, err := measure(ctx, name, g, o)
		if err != nil {
			return out, fmt.Errorf("gate %s: %w", name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func measure(ctx context.Context, name string, g gate, o Options) (Result, error) {
	r := Result{Gate: name, Goal: g.goal, Settings: g.settings}
	var ours, baseline, ratios []float64
	for round := range o.Rounds {
		a, err := g.baseline(ctx)
		if err != nil {
			return r, fmt.Errorf("baseline: %w", err)
		}
		b, err := profiled(ctx, o.Profile, g.ours)
		if err != nil {
			return r, err
		}
		fmt.Fprintf(o.Progress, "%s round %d of %d: baseline %.0f/s, ours %.0f/s, ratio %.2f\n", name, round+1, o.Rounds, a, b, b/a)
		baseline, ours, ratios = append(baseline, a), append(ours, b), append(ratios, b/a)
	}
	r.Ours, r.Baseline = median(ours), median(baseline)
	r.Ratio, r.Low, r.High = r.Ours/r.Baseline, slices.Min(ratios), slices.Max(ratios)
	switch {
	case r.Low >= g.goal:
		r.Verdict = "reached"
	case r.High < g.goal:
		r.Verdict = "missed"
	default:
		r.Verdict = "noise"
	}
	return r, nil
}

// profiled measures ours, with a CPU profile where one is asked for.
func profiled(ctx context.Context, path string, ours func(context.Context) (float64, error)) (float64, error) {
	if path == "" {
		return ours(ctx)
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return 0, err
	}
	defer pprof.StopCPUProfile()
	return ours(ctx)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// rate is how often f runs a second, over at least half a second.
func rate(f func(n int)) float64 {
	for n := 1000; ; n *= 4 {
		begin := time.Now()
		f(n)
		if took := time.Since(begin); took > 500*time.Millisecond {
			return float64(n) / took.Seconds()
		}
	}
}
