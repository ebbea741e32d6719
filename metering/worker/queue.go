package worker

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queue is what was polled for a partition and not yet taken. One goroutine puts, one takes.
type queue struct {
	mu     sync.Mutex
	polled [][]*kgo.Record // as they came; none is empty
	queued int             // records in polled
	err    error           // what ended fetching; nil while it goes on
	wake   chan struct{}   // holds one token when there is something to take
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(records []*kgo.Record) (queued int) {
	q.mu.Lock()
	q.polled = append(q.polled, records)
	q.queued += len(records)
	queued = q.queued
	q.mu.Unlock()
	q.signal()
	return queued
}

func (q *queue) fail(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take moves at most limit records into buf. When nothing is queued it returns what ended fetching, once.
func (q *queue) take(buf []*kgo.Record, limit int) (_ []*kgo.Record, left int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	buf = buf[:0]
	for len(q.polled) > 0 && len(buf) < limit {
		first := q.polled[0]
		n := min(limit-len(buf), len(first))
		buf = append(buf, first[:n]...)
		if q.polled[0] = first[n:]; n == len(first) {
			q.polled[0] = nil
			q.polled = q.polled[1:]
		}
	}
	q.queued -= len(buf)
	if len(buf) == 0 {
		err, q.err = q.err, nil
	}
	return buf, q.queued, err
}

// newest is the last record that waits; nil: none does.
func (q *queue) newest() *kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.polled) == 0 {
		return nil
	}
	newest := q.polled[len(q.polled)-1]
	return newest[len(newest)-1]
}

func (q *queue) clear() {
	q.mu.Lock()
	q.polled, q.queued, q.err = nil, 0, nil
	q.mu.Unlock()
}
