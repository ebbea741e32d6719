package worker

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// What is put comes out once, in order, in pieces no larger than asked for; an error only when nothing is left.
func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, next, want := newQueue(), int64(0), int64(0)
		broken := errors.New("broken")
		var buf []*kgo.Record
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				records := make([]*kgo.Record, rapid.IntRange(1, 9).Draw(t, "records"))
				for i := range records {
					records[i] = &kgo.Record{Offset: next}
					next++
				}
				if queued := q.put(records); int64(queued) != next-want {
					t.Fatalf("%d queued, want %d", queued, next-want)
				}
				if q.newest().Offset != next-1 {
					t.Fatalf("newest %d, want %d", q.newest().Offset, next-1)
				}
				q.fail(broken)
				continue
			}
			limit := rapid.IntRange(1, 12).Draw(t, "limit")
			var left int
			var err error
			buf, left, err = q.take(buf, limit)
			if int64(len(buf)) != min(int64(limit), next-want) || int64(left) != next-want-int64(len(buf)) || (err != nil) != (len(buf) == 0 && next > 0) {
				t.Fatalf("took %d of %d, %d left, %v", len(buf), next-want, left, err)
			}
			for _, r := range buf {
				if r.Offset != want {
					t.Fatalf("took %d, want %d", r.Offset, want)
				}
				want++
			}
			if err != nil {
				return // it is said once
			}
		}
	})
}
