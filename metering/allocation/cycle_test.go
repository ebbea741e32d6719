package allocation_test

import (
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"pgregory.net/rapid"
)

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestCycles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ period, anchor, zone, at, start, end string }{
		{"monthly", "2026-01-01", "UTC", "2026-11-24T12:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"monthly", "2026-01-01", "Europe/Berlin", "2026-10-31T23:30:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"},
		{"monthly", "2026-01-31", "UTC", "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"monthly", "2026-01-31", "UTC", "2026-02-27T23:59:59Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"monthly", "2026-06-15", "UTC", "2025-01-01T00:00:00Z", "2024-12-15T00:00:00Z", "2025-01-15T00:00:00Z"},
		{"quarterly", "2026-01-01", "UTC", "2026-12-31T23:59:59Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"yearly", "2024-02-29", "UTC", "2026-01-01T00:00:00Z", "2025-02-28T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"weekly", "2026-01-05", "UTC", "2026-11-24T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"days", "2026-01-01", "UTC", "2026-01-10T00:00:00Z", "2026-01-07T00:00:00Z", "2026-01-10T00:00:00Z"},
		// Berlin's days of 23 and 25 hours.
		{"daily", "2026-01-01", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"daily", "2026-01-01", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		// Santiago's clocks go forward at midnight: the day begins at 01:00.
		{"daily", "2026-01-01", "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"never", "2026-01-01", "UTC", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9999-12-31T00:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		cal := allocation.Calendar{Period: allocation.Period(c.period), Anchor: day(c.anchor), Location: zone, Days: 9}
		if c.period == "days" {
			cal.Days = 3
			if c.end == "2026-01-10T00:00:00Z" {
				at = at.Add(-time.Second)
			}
		}
		start, end := cal.Containing(at)
		if got, want := start.UTC().Format(time.RFC3339), c.start; got != want {
			t.Errorf("%+v: starts %s", c, got)
		}
		if got, want := end.UTC().Format(time.RFC3339), c.end; got != want {
			t.Errorf("%+v: ends %s", c, got)
		}
	}
}

// Cycles cover time without gaps or overlaps, whatever the zone.
func TestCyclesTile(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "America/Havana"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		c := allocation.Calendar{Location: zone, Days: rapid.IntRange(1, 100).Draw(t, "days"),
			Period: rapid.SampledFrom([]allocation.Period{allocation.Daily, allocation.Weekly, allocation.Monthly, allocation.Quarterly, allocation.Yearly, allocation.EveryDays}).Draw(t, "period"),
			Anchor: day("2020-01-31").AddDate(0, 0, rapid.IntRange(0, 3000).Draw(t, "anchor"))}
		at := time.Unix(rapid.Int64Range(1_400_000_000, 2_000_000_000).Draw(t, "at"), 0)
		start, end := c.Containing(at)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%v is not in [%v, %v)", at, start, end)
		}
		if _, before := c.Containing(start.Add(-time.Nanosecond)); !before.Equal(start) {
			t.Fatalf("the cycle before ends %v, and this one starts %v", before, start)
		}
		if after, _ := c.Containing(end); !after.Equal(end) {
			t.Fatalf("the cycle after starts %v, and this one ends %v", after, end)
		}
	})
}
