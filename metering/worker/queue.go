package worker

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queue is what was polled for a partition and not yet taken. One goroutine puts, one takes.
type queue struct {
	mu      sync.Mutex
	records []*kgo.Record
	err     error         // what ended fetching; nil while it goes on
	wake    chan struct{} // holds one token when there is something to take
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(records []*kgo.Record) (queued int) {
	q.mu.Lock()
	q.records = append(q.records, records...)
	queued = len(q.records)
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
	n := min(limit, len(q.records))
	buf = append(buf[:0], q.records[:n]...)
	rest := copy(q.records, q.records[n:])
	clear(q.records[rest:])
	q.records = q.records[:rest]
	if n == 0 {
		err, q.err = q.err, nil
	}
	return buf, rest, err
}

// newest is the last record that waits; nil: none does.
func (q *queue) newest() *kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.records) == 0 {
		return nil
	}
	return q.records[len(q.records)-1]
}

func (q *queue) clear() {
	q.mu.Lock()
	clear(q.records)
	q.records, q.err = q.records[:0], nil
	q.mu.Unlock()
}
