package verify

import (
	"context"
	"strconv"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// quarantine checks that every quarantined event is in usage.dlq.v1, with the journal's reason (I7). A record there without
// a decision is none's: whoever crashed between the two decided again.
func (v *verification) quarantine(ctx context.Context) error {
	expired, err := v.expired(ctx, quarantineTopic)
	if err != nil {
		return err
	}
	err = v.whole(ctx, quarantineTopic, func(rec *kgo.Record) error {
		l := v.byPlace[source(rec)]
		at, err := strconv.ParseUint(header(rec, "src_offset"), 10, 64)
		reason, ok := events.ParseReason(header(rec, "reason"))
		if l == nil || err != nil || !ok {
			return nil
		}
		return v.held.add([4]uint64{uint64(l.id), at, 1, uint64(reason)})
	})
	if err != nil {
		return err
	}
	var last [4]uint64
	any, found := false, false
	i7 := v.results["I7"]
	check := func() {
		if decided := int64(last[3] >> 8); any && !found && decided > expired.UnixMicro() {
			i7.fail("%s was quarantined (%s) and is not in %s", v.spot(spot{last[0], last[1]}), events.Reason(last[3]&0xff), quarantineTopic)
		}
	}
	err = v.held.each(func(r [4]uint64) error {
		switch {
		case r[2] == 0:
			check()
			last, any, found = r, true, false
		case any && r[0] == last[0] && r[1] == last[1] && r[3] == last[3]&0xff:
			found = true
		}
		return nil
	})
	check()
	return err
}
