//go:build synctests

package schedules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// ago is a usage event of ada's that happened so long before the schedule begins.
func ago(id string, age time.Duration, change ...func(*event)) event {
	e := event{id: id, account: "acme", user: "ada", team: "core", source: "app", model: "odd", input: 12_345, output: 67, time: begin.Add(-age)}
	for _, c := range change {
		c(&e)
	}
	return e
}

func several(n int, prefix string) (all []event) {
	for i := range n {
		all = append(all, ago(fmt.Sprint(prefix, i), time.Minute))
	}
	return all
}

// happens plays the steps, a second apart where they have no time of their own.
func happens(t *testing.T, s schedule) {
	t.Helper()
	t.Parallel()
	g := stand(t)
	for i := range s.steps {
		if s.steps[i].at == 0 {
			s.steps[i].at = time.Duration(1+i) * time.Second
		}
	}
	if failures, trace := play(t, g, &s); len(failures) > 0 {
		t.Errorf("%s\n%s", strings.Join(failures, "\n"), strings.Join(trace, "\n"))
	}
}

func TestATakeoverKnowsWhatWasCharged(t *testing.T) {
	e := []event{ago("new", time.Minute)}
	happens(t, schedule{partitions: 1, workers: 1, steps: []step{
		{do: send, events: e}, {do: kill}, {do: join}, {do: send, events: e, at: 6 * time.Second}}})
}

// The oldest hour of the window is as good as the others.
func TestATakeoverKnowsWhatIsAlmostTooOld(t *testing.T) {
	e := []event{ago("old", 23*time.Hour+50*time.Minute)}
	happens(t, schedule{partitions: 1, workers: 1, steps: []step{
		{do: send, events: e}, {do: send, events: []event{ago("new", 0)}}, {do: kill}, {do: join}, {do: send, events: e, at: 7 * time.Second}}})
}

func TestARefusedBatchLeavesNothingInTheWindow(t *testing.T) {
	happens(t, schedule{partitions: 1, workers: 1, batchMax: 9, steps: []step{
		{do: fault, outcomes: []outcome{refused}}, {do: send, events: several(5, "a")},
		{do: fault, outcomes: []outcome{late, late}}, {do: send, events: several(5, "b")}}})
}

func TestACommitWhoseAnswerIsLostCharges(t *testing.T) {
	happens(t, schedule{partitions: 1, workers: 1, batchMax: 9, steps: []step{
		{do: fault, outcomes: []outcome{answered}}, {do: send, events: several(5, "a")}, {do: send, events: several(7, "a")}}})
}

func TestCopiesMeetAtHome(t *testing.T) {
	e := ago("same", time.Minute)
	happens(t, schedule{partitions: 3, workers: 1, steps: []step{
		{do: stray, events: []event{e, e, e, e}}, {do: send, events: []event{e}}, {do: stray, events: several(6, "other")}}})
}

func TestWhatWasAbortedNeverWas(t *testing.T) {
	happens(t, schedule{partitions: 2, workers: 1, steps: []step{
		{do: abort, events: several(4, "gone")}, {do: commit, events: several(4, "there")}, {do: send, events: several(5, "there")}}})
}

func TestAHeaderAuthorizesNothing(t *testing.T) {
	forged := func(e *event) { e.forged = true }
	happens(t, schedule{partitions: 2, workers: 1, steps: []step{
		{do: send, events: several(3, "fine")}, {do: send, events: []event{ago("late", 26*time.Hour, forged), ago("later", 99*time.Hour, forged)}}}})
}

func TestALateEventIsChargedWhenItIsAuthorized(t *testing.T) {
	e := []event{ago("late", 30*time.Hour)}
	happens(t, schedule{partitions: 2, workers: 1, steps: []step{{do: send, events: e}, {do: allow, events: e}, {do: allow, events: e}}})
}

func TestCyclesAreOfTheEventsTime(t *testing.T) {
	cy := func(e *event) { e.account, e.user, e.team = "beta", "cy", "solo" }
	happens(t, schedule{partitions: 1, workers: 1, steps: []step{
		{do: send, events: []event{ago("yesterday", 21*time.Hour), ago("today", 2*time.Hour), ago("there", 15*time.Hour, cy), ago("then", 13*time.Hour, cy)}}}})
}

func TestAZombieWritesNothing(t *testing.T) {
	happens(t, schedule{partitions: 2, workers: 2, steps: []step{
		{do: send, events: several(6, "a")},
		{do: freeze, n: 0, hold: 10 * time.Second, at: 2200 * time.Millisecond}, {do: send, events: several(9, "b"), at: 2202 * time.Millisecond},
		{do: send, events: several(12, "b"), at: 11 * time.Second}, {do: freeze, n: 1, hold: 10 * time.Second, at: 14 * time.Second},
		{do: send, events: several(20, "b"), at: 14003 * time.Millisecond}}})
}

func TestNewHomesKnowWhatOldOnesDecided(t *testing.T) {
	e := several(12, "a")
	happens(t, schedule{partitions: 1, workers: 2, batchMax: 3, steps: []step{
		{do: send, events: e}, {do: grow}, {do: send, events: e}, {do: old, events: several(16, "a"), at: 20 * time.Second},
		{do: grow, at: 21 * time.Second}, {do: send, events: several(20, "a"), at: 22 * time.Second}, {do: send, events: several(20, "a"), at: 45 * time.Second}}})
}

func TestAnObservedEventNeedsNoPrice(t *testing.T) {
	happens(t, schedule{partitions: 1, workers: 1, steps: []step{
		{do: send, events: []event{ago("seen", time.Minute, func(e *event) { e.source, e.model = "watch", "unknown" })}}, {do: send, events: several(3, "a")}}})
}

// A partition whose fetching was paused because its queue was long is lost, and comes back to the same process.
func TestAPartitionThatComesBackIsFetched(t *testing.T) {
	happens(t, schedule{partitions: 1, workers: 1, steps: []step{
		{do: send, events: several(2, "a")}, {do: fault, outcomes: slices.Repeat([]outcome{hung}, 2)}, {do: send, events: several(40, "b")},
		{do: cut, kafka: true, hold: 2 * sessionTimeout}, {do: send, events: several(50, "b"), at: 90 * time.Second}}})
}
