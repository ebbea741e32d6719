package journal_test

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"pgregory.net/rapid"
)

func bodies(t *rapid.T, from int64) journal.Body {
	var b journal.Body
	for range rapid.IntRange(1, 4).Draw(t, "paths") {
		b.Paths = append(b.Paths, journal.Path{
			Account: rapid.Int64Min(1).Draw(t, "account"), Section: rapid.Int64Min(1).Draw(t, "section"),
			CycleStart: rapid.Int64().Draw(t, "cycle"), Scopes: rapid.SliceOfN(rapid.Int64Min(1), 1, 5).Draw(t, "scopes"),
		})
	}
	position := from - 1
	for range rapid.IntRange(0, 20).Draw(t, "entries") {
		position += rapid.Int64Range(1, 1000).Draw(t, "gap")
		e := journal.Entry{Decision: journal.Decision(rapid.IntRange(1, 8).Draw(t, "decision")), Position: position}
		copy(e.Identity[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "identity"))
		if e.Decision.HasCharge() {
			e.TimeMicros = rapid.Int64Range(-1<<60, 1<<60).Draw(t, "time")
			e.Charge = journal.Charge{Path: rapid.IntRange(0, len(b.Paths)-1).Draw(t, "path"),
				Membership: rapid.Int64Min(0).Draw(t, "membership"), User: rapid.Int64Min(0).Draw(t, "user"), Model: 7, Price: 8, Factor: 9,
				Flags: events.Flag(rapid.IntRange(0, 63).Draw(t, "flags")), Credits: rapid.Int64().Draw(t, "credits"), Cost: rapid.Int64().Draw(t, "cost")}
		}
		switch {
		case e.Decision == journal.Quarantined:
			e.Reason, e.Account = events.Reason(rapid.IntRange(1, 12).Draw(t, "reason")), rapid.Int64Min(0).Draw(t, "of")
		case e.Decision == journal.Moved:
			e.Home = rapid.Int32Min(0).Draw(t, "home")
		case e.Decision.HasOrigin():
			e.Origin = journal.Origin{OffsetsID: 3, Position: rapid.Int64Min(0).Draw(t, "origin")}
		}
		b.Entries = append(b.Entries, e)
	}
	return b
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, 1<<40).Draw(t, "from")
		in := bodies(t, from)
		var enc journal.Encoder
		data := enc.Append(nil, from, &in)
		var out journal.Body
		if err := journal.Decode(data, from, &out); err != nil {
			t.Fatal(err)
		}
		if len(in.Entries) == 0 {
			in.Entries, out.Entries = nil, nil
		}
		if !reflect.DeepEqual(in.Paths, out.Paths) || !reflect.DeepEqual(in.Entries, out.Entries) {
			t.Fatalf("got %+v, want %+v", out, in)
		}
		var want, got []any
		for _, e := range in.Entries {
			if e.Decision.Remembered() {
				want = append(want, e.Identity, e.TimeMicros)
			}
		}
		hashes, micros, err := journal.Identities(data, nil, nil)
		for i := range hashes {
			got = append(got, hashes[i], micros[i])
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("identities %v (%v), want %v", got, err, want)
		}
		cut := rapid.IntRange(1, len(data)-1).Draw(t, "cut")
		if err := journal.Decode(data[:cut], from, &out); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatalf("a body cut at %d of %d bytes: %v", cut, len(data), err)
		}
		if _, _, err := journal.Identities(data[:cut], nil, nil); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatalf("identities of a body cut at %d of %d bytes: %v", cut, len(data), err)
		}
	})
}

// What was written before memberships left the paths says the same.
func TestVersion1IsRead(t *testing.T) {
	t.Parallel()
	const written = "010201020201002001020000000000000000000000000000010200000000000000000000000000000880e0bca6b8cbaf06" +
		"0d01010209e0cbb3ae0d0303040809000506070190a10f05000000"
	data, err := hex.DecodeString(written)
	if err != nil {
		t.Fatal(err)
	}
	var b journal.Body
	if err := journal.Decode(data, 5, &b); err != nil {
		t.Fatal(err)
	}
	first := journal.Entry{Decision: journal.Charged, Position: 6, Identity: [16]byte{1, 2}, TimeMicros: 1793500000000000,
		Charge: journal.Charge{User: 9, Model: 5, Price: 6, Factor: 7, Flags: 1, Credits: 125000, Cost: -3}}
	second := journal.Entry{Decision: journal.Duplicate, Position: 7, Identity: [16]byte{1, 2}}
	path := journal.Path{Account: 1, Section: 2, CycleStart: 1793487600, Scopes: []int64{3, 4, 8}}
	if !reflect.DeepEqual(b.Entries, []journal.Entry{first, second}) || !reflect.DeepEqual(b.Paths, []journal.Path{path}) {
		t.Errorf("got %+v", b)
	}
}
