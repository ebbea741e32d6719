package bench_test

import (
	"os"
	"testing"

	"github.com/alchemi/cockpit/internal/bench"
	"github.com/alchemi/cockpit/internal/engine"
)

func TestMain(m *testing.M) {
	if engine.Child() {
		return
	}
	os.Exit(m.Run())
}

// The gates that can be small, and do not start the program itself, run and give figures, whatever those are.
func TestGatesRun(t *testing.T) {
	t.Parallel()
	gates := []string{"P1", "P4", "P5", "summary", "audit"}
	results, err := bench.Run(t.Context(), gates, bench.Options{Events: 20_000, Rounds: 1, Accounts: 10, Users: 20, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	measured := map[string]bool{}
	for _, r := range results {
		measured[r.Gate] = true
		if r.Ours <= 0 {
			t.Errorf("%s %s: %v %s", r.Gate, r.What, r.Ours, r.Unit)
		}
	}
	for _, g := range gates {
		if !measured[g] {
			t.Errorf("%s gave nothing", g)
		}
	}
}
