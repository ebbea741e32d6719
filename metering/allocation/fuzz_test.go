package allocation_test

import (
	"math/big"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
)

var zones = []string{"UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "America/Havana", "Antarctica/Troll", "Australia/Lord_Howe"}

// FuzzCycles walks from the anchor, cycle by cycle, in dates alone, until the cycle that has the date; and looks at local
// clocks for when it begins.
func FuzzCycles(f *testing.F) {
	f.Add(uint8(2), uint16(1), int32(20479), uint8(1), int64(1761953400))
	f.Add(uint8(0), uint16(1), int32(14975), uint8(4), int64(1325239200))
	f.Add(uint8(5), uint16(3), int32(20454), uint8(0), int64(1767225599))
	f.Add(uint8(4), uint16(1), int32(19782), uint8(6), int64(1709164800))
	f.Add(uint8(3), uint16(1), int32(0), uint8(7), int64(-1))
	f.Fuzz(func(t *testing.T, period uint8, days uint16, anchor int32, zone uint8, at int64) {
		periods := []allocation.Period{allocation.Daily, allocation.Weekly, allocation.Monthly, allocation.Quarterly, allocation.Yearly, allocation.EveryDays}
		location, err := time.LoadLocation(zones[int(zone)%len(zones)])
		if err != nil {
			t.Fatal(err)
		}
		// From 1950 to 2100, with an anchor at most some years away: the model walks.
		moment := time.Unix(at%2_400_000_000, 0)
		first := time.Unix(0, 0).UTC().AddDate(0, 0, int(anchor)%40_000)
		if d := moment.Sub(first); d > 4000*24*time.Hour || d < -4000*24*time.Hour {
			return
		}
		c := allocation.Calendar{Period: periods[int(period)%len(periods)], Days: int(days) + 1, Anchor: first, Location: location}
		start, end := c.Containing(moment)
		n := 0
		for begins(location, date(c, n)).After(moment) {
			n--
		}
		for !begins(location, date(c, n+1)).After(moment) {
			n++
		}
		if wantStart, wantEnd := begins(location, date(c, n)), begins(location, date(c, n+1)); !start.Equal(wantStart) || !end.Equal(wantEnd) {
			t.Fatalf("%+v at %s: [%s, %s), want [%s, %s)", c, moment.UTC(), start, end, wantStart, wantEnd)
		}
	})
}

// date is the day on which cycle n begins.
func date(c allocation.Calendar, n int) time.Time {
	months := map[allocation.Period]int{allocation.Monthly: 1, allocation.Quarterly: 3, allocation.Yearly: 12}[c.Period]
	if months == 0 {
		return c.Anchor.AddDate(0, 0, n*map[allocation.Period]int{allocation.Daily: 1, allocation.Weekly: 7, allocation.EveryDays: c.Days}[c.Period])
	}
	day := c.Anchor.Day()
	for {
		// A day that the month does not have runs over into the next; one less, until it does not.
		d := time.Date(c.Anchor.Year(), c.Anchor.Month()+time.Month(n*months), day, 0, 0, 0, 0, time.UTC)
		if d.Day() == day {
			return d
		}
		day--
	}
}

// begins is the first quarter of an hour at which local clocks show the day or a later one: every zone's clocks change on one.
func begins(zone *time.Location, day time.Time) time.Time {
	at := day.Add(-26 * time.Hour)
	for clock(at, zone).Before(day) {
		at = at.Add(15 * time.Minute)
	}
	return at
}

// Thresholds and what is available, in numbers that can't overflow.
func FuzzAvailable(f *testing.F) {
	f.Add(int64(100), int64(80), int64(0), int64(50), int64(7), 80)
	f.Add(int64(1<<63-1), int64(1<<63-1), int64(1), int64(0), int64(-1<<63), 100)
	f.Add(int64(0), int64(1), int64(0), int64(0), int64(0), 1)
	f.Fuzz(func(t *testing.T, has, used, reserved, capped, usedBelow int64, percent int) {
		if has < 0 || reserved < 0 || capped < 0 || percent < 1 {
			return
		}
		if got, want := allocation.Reached(credit.Amount(used), credit.Amount(has), percent), reached(used, has, percent); got != want {
			t.Fatalf("%d of %d reaches %d%%: %t", used, has, percent, got)
		}
		limit := credit.Amount(capped)
		tree, err := allocation.Evaluate([]allocation.Scope{{ID: 1, Planned: allocation.Fixed, Amount: credit.Amount(has)}, {ID: 2, Parent: 1}, {ID: 3, Parent: 2, Cap: &limit}})
		if err != nil {
			t.Fatal(err)
		}
		top := new(big.Int).Sub(big.NewInt(has), big.NewInt(reserved))
		top.Sub(top, big.NewInt(used))
		// The scope between has neither an allocation nor a cap of its own: what was used there binds nobody.
		below := new(big.Int).Sub(big.NewInt(min(has, capped)), big.NewInt(usedBelow))
		a, err := tree.Available([]int64{1, 2, 3}, allocation.Usage{Used: map[int64]credit.Amount{1: credit.Amount(used), 2: 1 << 62, 3: credit.Amount(usedBelow)},
			Reserved: map[int64]credit.Amount{1: credit.Amount(reserved)}})
		if fits := top.IsInt64() && below.IsInt64(); fits != (err == nil) {
			t.Fatalf("%s and %s: %v", top, below, err)
		} else if !fits {
			return
		}
		want, binding := top, int64(1)
		if below.Cmp(top) < 0 {
			want, binding = below, 3
		}
		if !a.Limited || int64(a.Amount) != want.Int64() || a.Binding != binding {
			t.Fatalf("%+v, want %s by %d", a, want, binding)
		}
	})
}

// reached is used ÷ has ≥ percent ÷ 100, with nothing used reaching nothing.
func reached(used, has int64, percent int) bool {
	if used <= 0 {
		return false
	}
	if has == 0 {
		return true
	}
	return big.NewRat(used, has).Cmp(big.NewRat(int64(percent), 100)) >= 0
}
