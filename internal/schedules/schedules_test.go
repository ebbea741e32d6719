//go:build synctests

package schedules

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// seedsUsual is how many schedules a usual run plays.
const seedsUsual = 200

// TestSchedules plays the schedules of the seeds 1 to SEEDS; or, to look at one, that of SEED, with the steps of KEEP only.
func TestSchedules(t *testing.T) {
	t.Parallel()
	g := stand(t)
	if one := os.Getenv("SEED"); one != "" {
		seed, err := strconv.ParseUint(one, 10, 64)
		must(t, err)
		s := compose(seed)
		if keep := os.Getenv("KEEP"); keep != "" {
			s = s.only(numbers(t, keep))
		}
		failures, trace := play(t, g, s)
		t.Logf("%s\n%s", s, strings.Join(trace, "\n"))
		if len(failures) > 0 {
			t.Error(strings.Join(failures, "\n"))
		}
		return
	}
	seeds := uint64(seedsUsual)
	if n := os.Getenv("SEEDS"); n != "" {
		var err error
		seeds, err = strconv.ParseUint(n, 10, 64)
		must(t, err)
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed+1), func(t *testing.T) {
			t.Parallel()
			hold(t, g, compose(seed+1))
		})
	}
}

func numbers(t *testing.T, list string) (n []int) {
	t.Helper()
	for s := range strings.SplitSeq(list, ",") {
		i, err := strconv.Atoi(s)
		must(t, err)
		n = append(n, i)
	}
	return n
}

// hold plays the schedule; when it fails it is made as short as it still fails, and printed.
func hold(t *testing.T, g *ground, s *schedule) {
	t.Helper()
	failures, _ := play(t, g, s)
	if len(failures) == 0 {
		return
	}
	kept, short := shrink(s, func(s *schedule) []string { failures, _ := play(t, g, s); return failures })
	if short == nil {
		t.Errorf("SEED=%d fails, but did not again:\n%s\n%s", s.seed, strings.Join(failures, "\n"), s)
		return
	}
	t.Errorf("SEED=%d KEEP=%s RUN=TestSchedules go test -v ./internal/schedules:\n%s\n%s", s.seed, kept, strings.Join(short, "\n"), s.only(numbers(t, kept)))
}
