package bench

import "testing"

// Each line: what the rounds gave, and what follows from it.
func TestVerdict(t *testing.T) {
	t.Parallel()
	least, most := measure{goal: 2, stretch: 3}, measure{goal: 1.5, stretch: 1.2, atMost: true}
	for _, c := range []struct {
		m              measure
		ours, baseline []float64
		want           string
	}{
		{least, []float64{10, 11, 10}, []float64{10, 10, 10}, "missed"},
		{least, []float64{25, 24, 25}, []float64{10, 10, 10}, "reached"},
		{least, []float64{40, 41, 40}, []float64{10, 10, 10}, "stretch"},
		{least, []float64{19, 25, 15}, []float64{10, 10, 10}, "noise"}, // 1.5 to 2.5, and 0.1 from the goal
		{most, []float64{14, 12, 14}, []float64{10, 10, 10}, "noise"},
		{most, []float64{13, 13, 13}, []float64{10, 10, 10}, "reached"},
		{most, []float64{10, 10, 10}, []float64{10, 10, 10}, "stretch"},
		{most, []float64{20, 20, 21}, []float64{10, 10, 10}, "missed"},
		{measure{goal: 0.5, atMost: true}, []float64{0.3, 0.3, 0.35}, nil, "reached"},
		{measure{goal: 0.5, atMost: true}, []float64{0.9, 0.8, 0.9}, nil, "missed"},
		{measure{}, []float64{7}, nil, ""},
	} {
		r := c.m.result(c.ours, c.baseline)
		if r.Verdict != c.want {
			t.Errorf("%v of %v against %v (%+v): %s, want %s", c.m, c.ours, c.baseline, r, r.Verdict, c.want)
		}
	}
}

func TestEveryGateHasAName(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range Gates() {
		if seen[name] {
			t.Errorf("%s twice", name)
		}
		seen[name] = true
	}
	if _, err := Run(t.Context(), []string{"P0"}, Options{Rounds: 1}); err == nil {
		t.Error("a gate that is not there is measured")
	}
}
