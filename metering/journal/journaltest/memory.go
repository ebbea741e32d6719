// Package journaltest is for tests of whatever uses the journal: a model of it in memory, and the contract that the model
// and the Postgres one both keep.
//
// The model owns nothing but its memory. It does what the statements of metering/journal do, one at a time under a lock, so
// it is exact and never fails but for a context that has ended, or for what a constraint of the table refuses. It exists
// because Postgres can't be in a bubble of testing/synctest; only tests may import it (internal/tidy holds that). Contract
// is what makes the model worth believing: a test of a new property of journal.Store belongs there, and runs against both.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
)

// Row is a journal row as it was written.
type Row struct {
	journal.Row
	Partition         journal.Partition
	Generation, Epoch int64
}

// Log is where a log stands.
type Log struct {
	journal.Partition
	ID, Next, Generation, Epoch int64
	Partitions                  int32
	Paused                      string
}

// Memory is a journal in memory. The zero value is ready; it is safe for concurrent use.
type Memory struct {
	mu         sync.Mutex
	logs       []*Log // ids are indexes, from 1
	rows       []Row  // in the order of their commits
	authorized map[[16]byte]bool
}

var _ journal.Store = (*Memory)(nil)

// Rows are all rows in the order of their commits.
func (m *Memory) Rows() []Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.rows)
}

// Logs are all logs by id.
func (m *Memory) Logs() (logs []Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.logs {
		logs = append(logs, *l)
	}
	return logs
}

// Authorize lets late events with that identity be charged.
func (m *Memory) Authorize(identity [16]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.authorized == nil {
		m.authorized = map[[16]byte]bool{}
	}
	m.authorized[identity] = true
}

// Authorized sets true for each of the identities that was authorized.
func (m *Memory) Authorized(ctx context.Context, identities map[[16]byte]bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range identities {
		identities[id] = m.authorized[id]
	}
	return ctx.Err()
}

// find is the log of that partition, or nil.
func (m *Memory) find(p journal.Partition) *Log {
	for _, l := range m.logs {
		if l.ClusterID == p.ClusterID && l.TopicID == p.TopicID && l.Partition.Partition == p.Partition {
			return l
		}
	}
	return nil
}

// begin adds a log in the topic's newest generation.
func (m *Memory) begin(p journal.Partition, partitions int32, start int64) *Log {
	l := &Log{Partition: p, ID: int64(len(m.logs) + 1), Next: start, Generation: 1, Partitions: partitions}
	newest := int64(0)
	for _, o := range m.logs {
		switch {
		case o.ClusterID != p.ClusterID:
		case o.TopicID == p.TopicID:
			newest, l.Partitions = max(newest, o.Generation), max(l.Partitions, o.Partitions)
		case o.Topic == p.Topic:
			l.Paused = "the topic was made anew under another id"
		}
	}
	l.Generation = max(1, newest)
	m.logs = append(m.logs, l)
	return l
}

// Take implements journal.Store.
func (m *Memory) Take(ctx context.Context, p journal.Partition, partitions int32, start int64) (journal.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return journal.Lease{}, err
	}
	l := m.find(p)
	if l == nil {
		l = m.begin(p, partitions, start)
	}
	l.Epoch++
	return journal.Lease{LogID: l.ID, Partition: p, Partitions: l.Partitions, Generation: l.Generation, Epoch: l.Epoch, Next: l.Next, Paused: l.Paused}, nil
}

// Commit implements journal.Store.
func (m *Memory) Commit(ctx context.Context, lease *journal.Lease, r *journal.Row) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if lease.LogID < 1 || lease.LogID > int64(len(m.logs)) {
		return journal.ErrFenced
	}
	l := m.logs[lease.LogID-1]
	if l.Epoch != lease.Epoch || l.Generation != lease.Generation || l.Next != r.From || l.Paused != "" {
		return journal.ErrFenced
	}
	if r.To <= r.From {
		return errors.New("check: to_pos > from_pos")
	}
	for i := range m.rows {
		if m.rows[i].ID == r.ID {
			return fmt.Errorf("unique: batch %s", r.ID)
		}
	}
	row := Row{Row: *r, Partition: l.Partition, Generation: l.Generation, Epoch: l.Epoch}
	row.LogID, row.RecordedAt, row.Body = l.ID, time.Now(), slices.Clone(r.Body)
	m.rows = append(m.rows, row)
	l.Next, lease.Next = r.To, r.To
	return nil
}

// Resolve implements journal.Store.
func (m *Memory) Resolve(ctx context.Context, l *journal.Lease, id uuid.UUID) (bool, error) {
	taken, err := m.Take(ctx, l.Partition, l.Partitions, l.Next)
	if err != nil {
		return false, err
	}
	*l = taken
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.rows, func(r Row) bool { return r.ID == id }), nil
}

// Pause implements journal.Store.
func (m *Memory) Pause(ctx context.Context, lease *journal.Lease, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	l := m.find(lease.Partition)
	if l == nil || l.ID != lease.LogID || l.Epoch != lease.Epoch {
		return journal.ErrFenced
	}
	l.Paused, lease.Paused = reason, reason
	return nil
}

// Repartition implements journal.Store.
func (m *Memory) Repartition(ctx context.Context, p journal.Partition, partitions int32, starts map[int32]int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	var have int32
	var generation int64
	for _, l := range m.logs {
		if l.ClusterID == p.ClusterID && l.TopicID == p.TopicID {
			have, generation = max(have, l.Partitions), max(generation, l.Generation)
		}
	}
	if have == 0 || have >= partitions {
		return nil
	}
	for _, l := range m.logs {
		if l.ClusterID == p.ClusterID && l.TopicID == p.TopicID {
			l.Partitions, l.Generation = partitions, generation+1
		}
	}
	for id, start := range starts {
		of := p
		of.Partition = id
		if m.find(of) == nil {
			m.begin(of, partitions, start).Paused = ""
		}
	}
	return nil
}

// each calls f for the entries of batches that match.
func (m *Memory) each(ctx context.Context, match func(*Row) bool, f func(*body.Entry)) error {
	m.mu.Lock()
	rows := m.rows[:len(m.rows):len(m.rows)]
	m.mu.Unlock()
	var b body.Body
	for i := range rows {
		r := &rows[i]
		if r.Kind != journal.Batch || !match(r) {
			continue
		}
		if err := body.Decode(r.Body, r.From, &b); err != nil {
			return err
		}
		for j := range b.Entries {
			f(&b.Entries[j])
		}
	}
	return ctx.Err()
}

// Identities implements journal.Store.
func (m *Memory) Identities(ctx context.Context, l journal.Lease, since time.Time, f func([16]byte, int64)) error {
	of := l.Partition
	return m.each(ctx, func(r *Row) bool {
		return r.Partition.Topic == of.Topic && !r.MaxTime.IsZero() && !r.MaxTime.Before(since) &&
			(r.LogID == l.LogID || r.Generation < l.Generation || r.Partition.ClusterID != of.ClusterID || r.Partition.TopicID != of.TopicID)
	}, func(e *body.Entry) {
		if e.Decision.Remembered() {
			f(e.Identity, e.TimeMicros)
		}
	})
}

// Decided implements journal.Store.
func (m *Memory) Decided(ctx context.Context, topic string, identities map[[16]byte]bool, from, to time.Time) error {
	return m.each(ctx, func(r *Row) bool {
		return r.Partition.Topic == topic && !r.MaxTime.IsZero() && !r.MaxTime.Before(from) && !r.MinTime.After(to)
	}, func(e *body.Entry) {
		if _, asked := identities[e.Identity]; asked && e.Decision.Remembered() {
			identities[e.Identity] = true
		}
	})
}

// WasMoved implements journal.Store.
func (m *Memory) WasMoved(ctx context.Context, p journal.Partition, position int64, identity [16]byte) (moved bool, err error) {
	err = m.each(ctx, func(r *Row) bool {
		o := r.Partition
		return o.ClusterID == p.ClusterID && o.TopicID == p.TopicID && o.Partition == p.Partition && r.From <= position && position < r.To
	}, func(e *body.Entry) {
		moved = moved || e.Position == position && e.Decision == body.Moved && e.Identity == identity
	})
	return moved, err
}

// newestRows is of how many rows of a log Newest is the newest.
const newestRows = 100

// Newest implements journal.Store.
func (m *Memory) Newest(ctx context.Context, l journal.Lease) (time.Time, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var own, topic time.Time
	seen := map[int64]int{}
	for _, r := range slices.Backward(m.rows) {
		if seen[r.LogID]++; r.Partition.Topic != l.Partition.Topic || seen[r.LogID] > newestRows {
			continue
		}
		if r.MaxTime.After(topic) {
			topic = r.MaxTime
		}
		if r.LogID == l.LogID && r.MaxTime.After(own) {
			own = r.MaxTime
		}
	}
	if own.IsZero() {
		own = topic
	}
	return own, !own.IsZero(), ctx.Err()
}
