package verify

import (
	"context"
	"encoding/binary"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fate notes what became of an identity: identity, then topic, kind, home and log, then position.
func (v *verification) fate(l *logState, d *decision) error {
	if d.identity == ([16]byte{}) {
		return nil
	}
	w := uint64(d.kind)<<56 | uint64(d.home)<<32 | uint64(l.id)
	if l.topic == guardrailTopic {
		w |= 1 << 63 // identities of topics are apart
	}
	return v.decided.add([4]uint64{binary.BigEndian.Uint64(d.identity[:8]), binary.BigEndian.Uint64(d.identity[8:]), w, uint64(d.position)})
}

// fates is what became of one identity.
type fates struct {
	key               [3]uint64
	final, duplicates int
	at                [2]spot // of the first two final decisions
	firstDuplicate    spot
	in                []uint64 // logs in which it was decided
	moves             []move   // to different logs
}

// spot is a position of a log.
type spot struct{ log, position uint64 }

// move is an event that was moved to its home.
type move struct {
	from spot
	home place
}

func (v *verification) spot(s spot) string {
	for _, l := range v.logs {
		if l.id == int64(s.log) {
			return l.String() + "@" + strconv.FormatUint(s.position, 10)
		}
	}
	return strconv.FormatUint(s.log, 10) + "@" + strconv.FormatUint(s.position, 10)
}

func (v *verification) topicOf(log uint64) string {
	for _, l := range v.logs {
		if l.id == int64(log) {
			return l.topicID
		}
	}
	return ""
}

// identities checks that each was charged, observed or recorded once (I2), and that duplicates and moved events have an
// original and a home (I7).
func (v *verification) identities(ctx context.Context) error {
	logs := map[uint64]*logState{}
	for _, l := range v.logs {
		logs[uint64(l.id)] = l
	}
	moves := &sorter[[4]uint64]{dir: v.Scratch}
	defer moves.close()
	homes := map[place]*logState{}
	var f fates
	err := v.decided.each(func(r [4]uint64) error {
		if key := [3]uint64{r[0], r[1], r[2] >> 63}; key != f.key {
			if err := v.settle(&f, moves, homes); err != nil {
				return err
			}
			f = fates{key: key, in: f.in[:0], moves: f.moves[:0]}
		}
		f.add(r, logs)
		return nil
	})
	if err != nil {
		return err
	}
	if err := v.settle(&f, moves, homes); err != nil {
		return err
	}
	return v.moved(ctx, moves, homes)
}

func (f *fates) add(r [4]uint64, logs map[uint64]*logState) {
	s := spot{r[2] & (1<<32 - 1), r[3]}
	if n := len(f.in); n == 0 || f.in[n-1] != s.log {
		f.in = append(f.in, s.log)
	}
	switch r[2] >> 56 & 0x7f {
	case charged, observed, recorded:
		if f.final < 2 {
			f.at[f.final] = s
		}
		f.final++
	case duplicate:
		if f.duplicates == 0 {
			f.firstDuplicate = s
		}
		f.duplicates++
	case moved:
		home := place{logs[s.log].topicID, int32(r[2] >> 32 & (1<<24 - 1))}
		if n := len(f.moves); n == 0 || f.moves[n-1].home != home {
			f.moves = append(f.moves, move{s, home})
		}
	}
}

// settle judges one identity. Moves whose home has not decided it yet are put aside.
func (v *verification) settle(f *fates, moves *sorter[[4]uint64], homes map[place]*logState) error {
	if len(f.in) == 0 {
		return nil
	}
	v.results["I2"].Checked++
	if f.final > 1 {
		v.results["I2"].fail("identity %016x%016x was charged or recorded %d times, at %s and %s", f.key[0], f.key[1], f.final, v.spot(f.at[0]), v.spot(f.at[1]))
	}
	if f.final == 0 && f.duplicates > 0 {
		v.results["I7"].fail("identity %016x%016x is called a duplicate of nothing at %s", f.key[0], f.key[1], v.spot(f.firstDuplicate))
	}
	for _, m := range f.moves {
		home, found := v.byPlace[m.home], false
		if home != nil && uint64(home.id) == m.from.log {
			v.results["I7"].fail("%s was moved to partition %d and is not there", v.spot(m.from), m.home.partition)
			continue
		}
		for _, log := range f.in {
			found = found || home != nil && log == uint64(home.id)
		}
		if found || home != nil && home.lost {
			continue
		}
		if home == nil { // nobody has read it yet
			home = &logState{topic: "usage.v1", topicID: m.home.topicID, partition: m.home.partition}
			if f.key[2] == 1 {
				home.topic = guardrailTopic
			}
		}
		homes[m.home] = home
		if err := moves.add([4]uint64{m.from.log, m.from.position, 0, uint64(home.partition)}); err != nil {
			return err
		}
	}
	return nil
}

// moved looks for events that were moved to a home which has not decided them: they must be in Kafka there, unread.
func (v *verification) moved(ctx context.Context, moves *sorter[[4]uint64], homes map[place]*logState) error {
	for _, home := range homes {
		if err := v.arrivals(ctx, home, moves); err != nil {
			return err
		}
	}
	var last [4]uint64
	arrived, any := false, false
	check := func() {
		if any && !arrived && !v.gone[v.topicOf(last[0])] {
			v.results["I7"].fail("%s was moved to partition %d and is not there", v.spot(spot{last[0], last[1]}), last[3])
		}
	}
	err := moves.each(func(r [4]uint64) error {
		switch {
		case r[2] == 0:
			check()
			last, any, arrived = r, true, false
		case any && r[0] == last[0] && r[1] == last[1] && r[3] == last[3]:
			arrived = true
		}
		return nil
	})
	check()
	return err
}

// arrivals notes where the unread records of a log were moved from.
func (v *verification) arrivals(ctx context.Context, home *logState, moves *sorter[[4]uint64]) error {
	kafka, err := v.read(ctx, home, home.next)
	if err != nil {
		return err
	}
	defer kafka.close()
	for {
		rec, err := kafka.peek(ctx, 1<<62)
		if rec == nil || err != nil {
			return err
		}
		kafka.take()
		if from := v.byPlace[source(rec)]; from != nil {
			at, err := strconv.ParseUint(header(rec, "src_offset"), 10, 64)
			if err != nil {
				continue
			}
			if err := moves.add([4]uint64{uint64(from.id), at, 1, uint64(home.partition)}); err != nil {
				return err
			}
		}
	}
}

// source is the partition that a moved or quarantined record says it comes from.
func source(rec *kgo.Record) place {
	n, err := strconv.ParseInt(header(rec, "src_partition"), 10, 32)
	if err != nil {
		return place{}
	}
	return place{header(rec, "src_topic_id"), int32(n)}
}

// header is the last header of that name.
func header(rec *kgo.Record, key string) (value string) {
	for i := range rec.Headers {
		if rec.Headers[i].Key == key {
			value = string(rec.Headers[i].Value)
		}
	}
	return value
}
