//go:build synctests

package schedules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// sessionTimeout is about the worker's: after it the broker gives a silent one's partitions to others.
const sessionTimeout = 6 * time.Second

// event is a usage event as a product makes it.
type event struct {
	id, account, source, user, team, model string
	input, output                          int64
	time                                   time.Time
	junk                                   string // sent as it is, instead
	forged                                 bool   // with headers that claim it was moved, and that a replay is authorized
}

// action is what a step does.
type action string

// The actions.
const (
	send   action = "send"   // events, each to its home
	stray  action = "stray"  // events, wherever
	old    action = "old"    // events, to the home that they had before the topic grew
	abort  action = "abort"  // events in a transaction that is aborted
	commit action = "commit" // events in one that is committed
	allow  action = "allow"  // authorizes late events, and sends them again
	join   action = "join"   // a worker
	leave  action = "leave"  // a worker, in order
	kill   action = "kill"   // a worker, at a point of its work, or now
	freeze action = "freeze" // a worker
	cut    action = "cut"    // a worker off from Kafka or the journal
	fault  action = "fault"  // what becomes of a worker's next commits
	grow   action = "grow"   // the topic, by a partition
)

// step is one action at its instant. The worker is the n-th of those that are alive then.
type step struct {
	at       time.Duration // since begin
	do       action
	n        int
	events   []event
	point    point
	hold     time.Duration
	kafka    bool
	outcomes []outcome
}

// String is the step as it is printed.
func (s *step) String() string {
	parts := []string{fmt.Sprintf("%8.3fs %-6s", s.at.Seconds(), s.do)}
	switch s.do {
	case leave, kill, freeze, cut, fault:
		parts = append(parts, fmt.Sprintf("worker %d", s.n))
	}
	if s.point != "" {
		parts = append(parts, string(s.point))
	}
	if s.hold > 0 {
		parts = append(parts, "for "+s.hold.String())
	}
	if s.do == cut {
		parts = append(parts, map[bool]string{true: "off Kafka", false: "off the journal"}[s.kafka])
	}
	for _, o := range s.outcomes {
		parts = append(parts, string(o)+";")
	}
	for i := range s.events {
		e := &s.events[i]
		if e.junk != "" {
			parts = append(parts, fmt.Sprintf("%q", e.junk))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s(%s/%s/%s %s %s %+d+%d %s ago)", e.id, e.account, e.user, e.team, e.source, e.model, e.input, e.output, begin.Add(s.at).Sub(e.time).Round(time.Second)))
	}
	return strings.Join(parts, " ")
}

// schedule is a history that is to happen.
type schedule struct {
	seed       uint64
	partitions int32
	workers    int // at the beginning
	batchMax   int // events a batch, less one
	steps      []step
}

// String is all of the steps.
func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d partitions, %d workers, batches of %d\n", s.partitions, s.workers, 1+s.batchMax)
	for i := range s.steps {
		fmt.Fprintf(&b, "%3d %s\n", i, &s.steps[i])
	}
	return b.String()
}

// composer makes a schedule of a seed.
type composer struct {
	*rand.Rand
	schedule
	made  []event // to be sent again
	grown int
}

// compose makes the schedule that the seed means.
func compose(seed uint64) *schedule {
	c := composer{Rand: rand.New(rand.NewPCG(seed, 1)), schedule: schedule{seed: seed}}
	c.partitions, c.workers, c.batchMax = int32(1+c.IntN(3)), 1+c.IntN(2), c.IntN(1<<c.IntN(5))
	at := time.Duration(0)
	for range 8 + c.IntN(22) {
		at += time.Duration(1 + c.Int64N(int64(700*time.Millisecond)))
		s := step{at: at, n: c.IntN(3)}
		if c.IntN(100) < 60 {
			c.traffic(&s)
		} else {
			c.trouble(&s)
		}
		c.steps = append(c.steps, s)
	}
	return &c.schedule
}

func pick[T any](c *composer, of ...T) T { return of[c.IntN(len(of))] }

func (c *composer) traffic(s *step) {
	s.do = pick(c, send, send, send, send, stray, stray, old, abort, commit, allow)
	for range 1 + c.IntN(6) {
		if s.do != abort && len(c.made) > 0 && c.IntN(100) < 35 {
			s.events = append(s.events, c.made[c.IntN(len(c.made))])
			continue
		}
		e := c.event(s)
		s.events = append(s.events, e)
		// What was aborted never was, and would be an event of its own if it came again.
		if e.junk == "" && !e.forged && s.do != abort {
			c.made = append(c.made, e)
		}
	}
}

// event makes a new one; what is to be allowed is late.
func (c *composer) event(s *step) event {
	if s.do == send && c.IntN(100) < 3 {
		return event{junk: pick(c, "{", " ", `{"specversion":"1.0"}`, "[]")}
	}
	who := pick(c, [3]string{"acme", "ada", "core"}, [3]string{"acme", "ada", ""}, [3]string{"acme", "bob", "ops"}, [3]string{"acme", "bob", ""},
		[3]string{"acme", "", "core"}, [3]string{"acme", "nobody", ""}, [3]string{"acme", "ada", "ops"}, [3]string{"beta", "cy", "solo"})
	e := event{id: fmt.Sprintf("e%d-%d", len(c.steps), len(s.events)), account: who[0], user: who[1], team: who[2], source: pick(c, "app", "app", "app", "app", "watch"),
		model: pick(c, "odd", "odd", "even"), input: c.Int64N(1 << c.IntN(20)), output: c.Int64N(1 << c.IntN(10))}
	age := time.Duration(c.Int64N(int64(pick(c, time.Second, time.Minute, 23*time.Hour, 23*time.Hour))))
	switch n := c.IntN(100); {
	case s.do == allow || n < 6:
		age = 24*time.Hour + 20*time.Second + time.Duration(c.Int64N(int64(30*time.Hour)))
		e.forged = s.do == send && c.IntN(2) == 0
	case n < 9:
		age = 24*time.Hour - time.Duration(c.Int64N(int64(6*time.Second))) // too late soon
	case n < 11:
		age = -10*time.Minute - time.Duration(c.Int64N(int64(10*time.Second))) // too early, perhaps not for long
	case n < 13:
		e.model = "unknown"
	case n < 14:
		e.account = "nobody"
	}
	e.time = begin.Add(s.at - age).Truncate(time.Microsecond)
	return e
}

func (c *composer) trouble(s *step) {
	s.do = pick(c, join, join, leave, kill, kill, kill, freeze, freeze, cut, cut, fault, fault, fault, grow)
	if s.do == grow && c.grown == 2 {
		s.do = join
	}
	switch s.do {
	case kill:
		s.point = pick(c, "", "", beforeTake, afterTake, beforeWindow, beforeCommit, beforeCommit, afterCommit, afterCommit, afterMoves)
	case freeze:
		s.hold = time.Duration(c.Int64N(int64(2 * sessionTimeout)))
	case cut:
		s.hold, s.kafka = time.Duration(c.Int64N(int64(2*sessionTimeout))), c.IntN(2) == 0
	case fault:
		for range 1 + c.IntN(3) {
			s.outcomes = append(s.outcomes, pick(c, fine, refused, answered, late, late))
		}
		if c.IntN(8) == 0 {
			s.outcomes = append(s.outcomes, hung)
		}
	case grow:
		c.grown++
	}
}

// only is the schedule with only those steps.
func (s *schedule) only(kept []int) *schedule {
	short := *s
	short.steps = nil
	for _, i := range slices.Sorted(slices.Values(kept)) {
		short.steps = append(short.steps, s.steps[i])
	}
	return &short
}
