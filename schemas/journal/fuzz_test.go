package journal_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/alchemi/cockpit/schemas/journal"
	"pgregory.net/rapid"
)

// Bytes are corrupt, or a body that is the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	var enc journal.Encoder
	path := []journal.Path{{Account: 1, Section: 1, CycleStart: 1763884800, Scopes: []int64{1, 2}}}
	f.Add(enc.Append(nil, 5, &journal.Body{Paths: path, Entries: []journal.Entry{{Decision: journal.Charged, Position: 6, Charge: journal.Charge{Membership: 8, User: 7, Credits: 12}}}}), int64(5))
	f.Add(enc.Append(nil, 0, &journal.Body{Paths: path, Entries: []journal.Entry{{Decision: journal.Quarantined, Position: 1, Reason: 3}, {Decision: journal.Moved, Position: 2, Home: 4},
		{Decision: journal.Reversal, Position: 3, TimeMicros: 9, Charge: journal.Charge{Credits: -5, Cost: -6}, Origin: journal.Origin{OffsetsID: 1, Position: 2}}}}), int64(0))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, data []byte, from int64) {
		var b, again journal.Body
		hashes, micros, err := journal.Identities(data, nil, nil)
		if err != nil && !errors.Is(err, journal.ErrCorrupt) || len(hashes) != len(micros) {
			t.Fatalf("%d hashes, %d times, %v", len(hashes), len(micros), err)
		}
		if err := journal.Decode(data, from, &b); err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		last := from - 1
		for _, e := range b.Entries {
			if e.Position <= last || e.Decision.String() == "" || e.Decision.HasCharge() && e.Charge.Path >= len(b.Paths) {
				t.Fatalf("%x from %d: %+v behind %d", data, from, e, last)
			}
			last = e.Position
		}
		if err := journal.Decode(enc.Append(nil, from, &b), from, &again); err != nil || !same(b, again) {
			t.Fatalf("%v: %+v, again %+v", err, b, again)
		}
	})
}

// same compares bodies; no entries are no entries.
func same(a, b journal.Body) bool {
	return len(a.Paths) == len(b.Paths) && len(a.Entries) == len(b.Entries) &&
		(len(a.Paths) == 0 || reflect.DeepEqual(a.Paths, b.Paths)) && (len(a.Entries) == 0 || reflect.DeepEqual(a.Entries, b.Entries))
}

// A body that was written is read as it was.
func FuzzBodies(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		from := rapid.Int64Range(0, 1<<60).Draw(t, "from")
		in := bodies(t, from)
		var enc journal.Encoder
		var out journal.Body
		if err := journal.Decode(enc.Append(nil, from, &in), from, &out); err != nil || !same(in, out) {
			t.Fatalf("%v: got %+v, want %+v", err, out, in)
		}
	}))
}
