package allocation

import (
	"fmt"
	"time"
)

// Period is how long a cycle lasts.
type Period string

// The periods.
const (
	Daily     Period = "daily"
	Weekly    Period = "weekly"
	Monthly   Period = "monthly"
	Quarterly Period = "quarterly"
	Yearly    Period = "yearly"
	EveryDays Period = "days"
	Never     Period = "never"
)

// Forever is the end of a cycle that never ends.
var Forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Calendar says when cycles begin: at local midnight of Anchor and then each Period.
type Calendar struct {
	Period   Period
	Days     int       // of EveryDays
	Anchor   time.Time // its date counts, its zone and time of day do not
	Location *time.Location
}

// Validate returns what is wrong with it.
func (c Calendar) Validate() error {
	switch c.Period {
	case Daily, Weekly, Monthly, Quarterly, Yearly, Never:
	case EveryDays:
		if c.Days < 1 {
			return fmt.Errorf("a cycle of every %d days", c.Days)
		}
	default:
		return fmt.Errorf("%q is no cycle (daily, weekly, monthly, quarterly, yearly, days, never)", c.Period)
	}
	return nil
}

// Containing returns the cycle [start, end) with t in it. Cycles before the anchor exist as those after it do. Each is
// computed from the anchor, so that one anchored on the 31st begins on the last day of shorter months and on the 31st again.
func (c Calendar) Containing(t time.Time) (start, end time.Time) {
	if c.Period == Never {
		start = c.begin(0)
		if t.Before(start) {
			return time.Time{}, start
		}
		return start, Forever
	}
	n := c.guess(t)
	for c.begin(n).After(t) {
		n--
	}
	for !c.begin(n + 1).After(t) {
		n++
	}
	return c.begin(n), c.begin(n + 1)
}

// guess is the number of t's cycle, or one beside it.
func (c Calendar) guess(t time.Time) int {
	local := t.In(c.Location)
	months := (local.Year()-c.Anchor.Year())*12 + int(local.Month()) - int(c.Anchor.Month())
	switch c.Period {
	case Monthly:
		return months
	case Quarterly:
		return months / 3
	case Yearly:
		return months / 12
	}
	// The date as days, not as a duration: durations end at 292 years.
	days := (dayOf(local) - dayOf(c.Anchor)) / secondsOfDay
	return int(days) / c.step()
}

const secondsOfDay = 24 * 60 * 60

// dayOf is t's date as Unix seconds of its midnight in UTC.
func dayOf(t time.Time) int64 {
	year, month, day := t.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()
}

// step is a cycle's length in days, of periods that are counted in days.
func (c Calendar) step() int {
	switch c.Period {
	case Weekly:
		return 7
	case EveryDays:
		return c.Days
	}
	return 1
}

// begin is when cycle n begins; n may be negative.
func (c Calendar) begin(n int) time.Time {
	year, month, day := c.Anchor.Date()
	switch c.Period {
	case Monthly:
		return c.month(year, month, n, day)
	case Quarterly:
		return c.month(year, month, 3*n, day)
	case Yearly:
		return c.month(year, month, 12*n, day)
	}
	return c.midnight(year, month, day+n*c.step())
}

func (c Calendar) month(year int, month time.Month, plus, day int) time.Time {
	last := time.Date(year, month+time.Month(plus)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return c.midnight(year, month+time.Month(plus), min(day, last))
}

// zoneMax is more than any zone was ever away from UTC.
const zoneMax = 24 * time.Hour

// midnight is the first instant at which local clocks show a day's 00:00 or later. Where clocks go back over midnight, 00:00
// comes twice, and the first counts; where they go forward over it, there is none, and the day begins with the change.
func (c Calendar) midnight(year int, month time.Month, day int) time.Time {
	shown := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	at := shown.Add(-zoneMax).In(c.Location)
	for {
		_, offset := at.Zone()
		_, change := at.ZoneBounds()
		t := shown.Add(-time.Duration(offset) * time.Second)
		if t.Before(at) {
			t = at
		}
		if change.IsZero() || t.Before(change) {
			return t.UTC()
		}
		at = change
	}
}
