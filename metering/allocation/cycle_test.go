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
		{"days", "2026-01-01", "UTC", "2026-01-09T23:59:59Z", "2026-01-07T00:00:00Z", "2026-01-10T00:00:00Z"},
		// Berlin's days of 23 and 25 hours.
		{"daily", "2026-01-01", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"daily", "2026-01-01", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		// Santiago's clocks go forward at midnight: the day begins at 01:00.
		{"daily", "2026-01-01", "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		// Havana's 00:00 comes twice: the day begins with the first.
		{"daily", "2026-01-01", "America/Havana", "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		// Apia had no 30 December 2011: its cycle is empty, and the 31st's begins where the 29th's ends.
		{"daily", "2011-01-01", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"daily", "2011-01-01", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		// From the anchor and never from the cycle before: February does not shorten March.
		{"monthly", "2026-01-31", "UTC", "2026-03-31T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"},
		{"monthly", "2026-01-31", "UTC", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"},
		{"monthly", "2026-01-31", "UTC", "2025-12-01T00:00:00Z", "2025-11-30T00:00:00Z", "2025-12-31T00:00:00Z"},
		{"quarterly", "2025-11-30", "UTC", "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-05-30T00:00:00Z"},
		{"quarterly", "2026-01-01", "UTC", "2025-12-31T23:59:59Z", "2025-10-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		{"yearly", "2024-02-29", "UTC", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z"},
		{"yearly", "2024-02-29", "UTC", "2019-02-27T00:00:00Z", "2018-02-28T00:00:00Z", "2019-02-28T00:00:00Z"},
		{"weekly", "2026-01-05", "UTC", "2025-12-31T00:00:00Z", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"},
		{"days", "2026-01-01", "UTC", "2025-12-31T23:59:59Z", "2025-12-29T00:00:00Z", "2026-01-01T00:00:00Z"},
		// Far from the anchor, further than a duration reaches.
		{"daily", "1600-01-01", "UTC", "9998-07-01T12:00:00Z", "9998-07-01T00:00:00Z", "9998-07-02T00:00:00Z"},
		{"never", "2026-01-31", "Europe/Berlin", "2026-01-30T23:00:00Z", "2026-01-30T23:00:00Z", "9999-12-31T00:00:00Z"},
		{"never", "2026-01-01", "UTC", "2025-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		{"never", "2026-01-01", "UTC", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9999-12-31T00:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		cal := allocation.Calendar{Period: allocation.Period(c.period), Anchor: day(c.anchor), Location: zone, Days: 3}
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

// A cycle begins at the first instant whose local clock shows the day's midnight or later, as a walk over the minutes finds it.
func TestDaysBeginAtTheirFirstInstant(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"America/Havana", "America/Santiago", "America/St_Johns", "Asia/Beirut", "Atlantic/Azores", "Africa/Cairo",
		"Pacific/Apia", "Pacific/Kwajalein", "Asia/Amman", "Antarctica/Troll", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := day("1986-01-01"); at.Year() < 2030; {
			_, change := at.In(zone).ZoneBounds()
			if change.IsZero() {
				break
			}
			for beside := -1; beside <= 1; beside++ {
				local := change.In(zone).AddDate(0, 0, beside)
				shown := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
				want := shown.Add(-16 * time.Hour)
				for clock(want, zone).Before(shown) {
					want = want.Add(time.Minute)
				}
				c := allocation.Calendar{Period: allocation.Never, Anchor: shown, Location: zone}
				if got, _ := c.Containing(allocation.Forever); !got.Equal(want) {
					t.Errorf("%s in %s begins %s, want %s", shown.Format(time.DateOnly), name, got.In(zone), want.In(zone))
				}
			}
			at = change
		}
	}
}

// clock is what local clocks show at t, as if in UTC.
func clock(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.Add(time.Duration(offset) * time.Second)
}

func TestBadCalendars(t *testing.T) {
	t.Parallel()
	for _, c := range []allocation.Calendar{{}, {Period: "fortnightly"}, {Period: allocation.EveryDays}, {Period: allocation.EveryDays, Days: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v passed", c)
		}
	}
}
