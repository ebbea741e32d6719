package decide_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/metering/decide"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
)

const hour = int64(time.Hour / time.Microsecond)

// unreadable is a scratch file on a disk that fails when it is read.
type unreadable struct{ dedupe.File }

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, io.ErrUnexpectedEOF }

// A window that can't answer does not let its batch be committed: the event may have been charged before.
func TestAWindowThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	create := dedupe.Scratch(t.TempDir())
	w := dedupe.New(24*time.Hour, 1<<20, func() (dedupe.File, error) {
		f, err := create()
		return unreadable{f}, err
	})
	defer w.Close()
	hasher := identity.NewHasher([16]byte{1})
	id := func(i int) string { return time.UnixMicro(int64(i)).UTC().Format(time.RFC3339Nano) }
	for i := range 5000 {
		if _, err := w.Add(hasher.Sum("acme", "web", id(i)), 10*hour); err != nil {
			t.Fatal(err)
		}
	}
	w.Advance(13 * hour)
	if err := w.Settle(1 << 20); err != nil {
		t.Fatal(err)
	}
	d := decide.Decider{Hasher: hasher, Window: w, Snapshot: &directory.Snapshot{}, Limits: decide.Limits{TooLate: 24 * time.Hour}}
	var body journal.Body
	decided := func(name string) error {
		d.Begin(&body)
		d.Usage(&events.Usage{Account: "acme", Source: "web", ID: name, TimeMicros: 10 * hour}, decide.Arrival{RecordMicros: 11 * hour, PartitionsHere: 1}, nil)
		return d.Err()
	}
	if err := decided(id(7)); !errors.Is(err, dedupe.ErrBroken) {
		t.Errorf("of an identity that was charged: %v", err)
	}
	if err := decided("new"); err != nil {
		t.Errorf("of one that memory alone tells is new: %v", err)
	}
}
