// Package bench measures the gates of the project's performance goals, as ratios against honest baselines in the same run.
//
// Baseline and ours alternate (A B A B …), so that a machine that is noisy is noisy to both; what is printed is both
// medians, the ratio of the medians and the spread of the rounds' ratios. Broker, Postgres and ClickHouse are processes of
// their own on the same machine, with fsync on. Nothing here is asserted: machines differ.
//
// A gate has one or more measures (P11: rows read, and time). A gate without a baseline is a promise (P12), or a table of
// figures (memory, costs): what counts is then the figure itself.
//
// Map: bench.go (rounds and results), registry.go (which gates there are), stores.go (Kafka, Postgres, the directory, the
// events), durable.go (P1, P2), pure.go (P5, P7), and a file for each of the others.
package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// Options say what to measure.
type Options struct {
	Events   int // in Kafka, for the gates of the durable path
	Rounds   int
	Accounts int
	Users    int // of each account
	Progress io.Writer

	ActiveUsers   int           // of P13, all accounts together
	ManyAccounts  int           // of P13
	ChartedEvents int           // of P11
	PromiseTime   time.Duration // of a round of P12
	Backlog       time.Duration // of memory
	BacklogRate   int           // events a second of it
	Profile       string        // a file for a CPU profile of ours, of the last round; empty: none

	alone bool // one partition instead of the usual ones
}

// usagePartitions is how many partitions usage.v1 has.
func (o *Options) usagePartitions() int32 {
	if o.alone {
		return 1
	}
	return partitions
}

// Partitions and workers of the durable path.
const partitions = 6

// Result is the outcome of one measure of a gate.
type Result struct {
	Gate     string  `json:"gate"`
	What     string  `json:"what,omitempty"` // which measure, where the gate has several
	Unit     string  `json:"unit"`
	Ours     float64 `json:"ours"`
	Baseline float64 `json:"baseline,omitempty"` // none: a promise or a table
	Ratio    float64 `json:"ratio,omitempty"`    // of the medians
	Low      float64 `json:"low"`                // spread of the rounds' ratios; of ours where there is no baseline
	High     float64 `json:"high"`
	AtMost   bool    `json:"at_most"` // the goal is an upper bound
	Goal     float64 `json:"goal,omitempty"`
	Stretch  float64 `json:"stretch,omitempty"`
	Verdict  string  `json:"verdict,omitempty"` // stretch, reached, missed, or noise; empty without a goal
	Rounds   int     `json:"rounds"`
	Settings string  `json:"settings"`
}

// measure is one figure of a gate.
type measure struct {
	what          string
	unit          string
	goal, stretch float64 // of the ratio, or of ours where there is no baseline; 0: none
	atMost        bool
}

// perSecond is the measure of a gate that compares rates.
func perSecond(goal, stretch float64) []measure {
	return []measure{{unit: "1/s", goal: goal, stretch: stretch}}
}

// gate says how to measure. Each function gives a figure for each measure.
type gate struct {
	settings string
	measures []measure
	baseline func(context.Context) ([]float64, error) // nil: there is none
	ours     func(context.Context) ([]float64, error)
	close    func() // nil: nothing to close
	once     bool   // one round says it all
}

// one makes a gate's function of one that gives a single figure.
func one(f func(context.Context) (float64, error)) func(context.Context) ([]float64, error) {
	return func(ctx context.Context) ([]float64, error) {
		v, err := f(ctx)
		return []float64{v}, err
	}
}

// Run measures the named gates.
func Run(ctx context.Context, names []string, o Options) (out []Result, err error) {
	r := &runner{o: o}
	defer r.close()
	for _, name := range names {
		results, err := r.gate(ctx, name)
		out = append(out, results...)
		if err != nil {
			return out, fmt.Errorf("gate %s: %w", name, err)
		}
	}
	return out, nil
}

func (r *runner) gate(ctx context.Context, name string) ([]Result, error) {
	i := slices.IndexFunc(registry, func(e entry) bool { return e.name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no such gate (%s)", strings.Join(Gates(), ", "))
	}
	g, err := registry[i].prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	if g.close != nil {
		defer g.close()
	}
	return g.rounds(ctx, name, r.o)
}

// rounds measures A B A B ….
func (g *gate) rounds(ctx context.Context, name string, o Options) ([]Result, error) {
	n := o.Rounds
	if g.once {
		n = 1
	}
	var ours, baseline [][]float64 // by round, then by measure
	for round := range n {
		if g.baseline != nil {
			a, err := g.baseline(ctx)
			if err != nil {
				return nil, fmt.Errorf("baseline: %w", err)
			}
			baseline = append(baseline, a)
		}
		b, err := profiled(ctx, o.Profile, g.ours)
		if err != nil {
			return nil, err
		}
		ours = append(ours, b)
		fmt.Fprintf(o.Progress, "%s round %d of %d: ours %s", name, round+1, n, figures(b))
		if g.baseline != nil {
			fmt.Fprintf(o.Progress, ", baseline %s", figures(baseline[round]))
		}
		fmt.Fprintln(o.Progress)
	}
	out := make([]Result, len(g.measures))
	for i := range g.measures {
		out[i] = g.measures[i].result(column(ours, i), column(baseline, i))
		out[i].Gate, out[i].Rounds, out[i].Settings = name, n, g.settings
	}
	return out, nil
}

func figures(v []float64) string {
	texts := make([]string, len(v))
	for i := range v {
		texts[i] = Figure(v[i])
	}
	return strings.Join(texts, " ")
}

// Figure is a number with three digits that matter, or all of those before the point.
func Figure(v float64) string {
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func column(rows [][]float64, i int) (out []float64) {
	for _, r := range rows {
		out = append(out, r[i])
	}
	return out
}

// result compares ours with the baseline, round by round, and says what that means for the goal.
func (m measure) result(ours, baseline []float64) Result {
	r := Result{What: m.what, Unit: m.unit, Ours: median(ours), Goal: m.goal, Stretch: m.stretch, AtMost: m.atMost}
	judged, each := r.Ours, ours
	if baseline != nil {
		r.Baseline = median(baseline)
		r.Ratio = r.Ours / r.Baseline
		judged, each = r.Ratio, make([]float64, len(ours))
		for i := range ours {
			each[i] = ours[i] / baseline[i]
		}
	}
	r.Low, r.High = slices.Min(each), slices.Max(each)
	r.Verdict = m.verdict(judged, r.High-r.Low)
	return r
}

// verdict says noise where the rounds are further apart than the figure is from the goal.
func (m measure) verdict(v, spread float64) string {
	meets := func(goal float64) bool { return goal != 0 && (v >= goal) != m.atMost || v == goal }
	switch {
	case m.goal == 0:
		return ""
	case spread > math.Abs(v-m.goal):
		return "noise"
	case meets(m.stretch):
		return "stretch"
	case meets(m.goal):
		return "reached"
	}
	return "missed"
}

// profiled measures ours, with a CPU profile where one is asked for.
func profiled(ctx context.Context, path string, ours func(context.Context) ([]float64, error)) ([]float64, error) {
	if path == "" {
		return ours(ctx)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	defer pprof.StopCPUProfile()
	return ours(ctx)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
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
