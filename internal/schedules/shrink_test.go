//go:build synctests

package schedules

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// triesMax is how often a shorter schedule is played before it counts as one that does not fail.
const triesMax = 2

// shrink drops steps while the schedule still fails: halves, then quarters, then one by one. It returns the numbers of those that
// are left, and how it fails then; nil if it did not fail again.
func shrink(s *schedule, fails func(*schedule) []string) (kept string, failures []string) {
	again := func(steps []int) []string {
		for range triesMax {
			if f := fails(s.only(steps)); len(f) > 0 {
				return f
			}
		}
		return nil
	}
	left := make([]int, len(s.steps))
	for i := range left {
		left[i] = i
	}
	if failures = again(left); failures == nil {
		return "", nil
	}
	for size := (len(left) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(left); {
			shorter := slices.Delete(slices.Clone(left), at, min(at+size, len(left)))
			if f := again(shorter); f != nil {
				left, failures = shorter, f
			} else {
				at += size
			}
		}
	}
	text := make([]string, len(left))
	for i, n := range left {
		text[i] = strconv.Itoa(n)
	}
	return strings.Join(text, ","), failures
}

// A schedule that fails because of two of its steps is cut down to these.
func TestShrinkLeavesWhatMatters(t *testing.T) {
	t.Parallel()
	s := compose(1)
	first, second := s.steps[2].at, s.steps[len(s.steps)-2].at
	kept, failures := shrink(s, func(s *schedule) []string {
		has := func(at any) bool { return slices.ContainsFunc(s.steps, func(s step) bool { return s.at == at }) }
		if has(first) && has(second) {
			return []string{"both are there"}
		}
		return nil
	})
	if want := "2," + strconv.Itoa(len(s.steps)-2); kept != want || len(failures) != 1 {
		t.Errorf("kept %s, want %s; %v", kept, want, failures)
	}
}
