package directory

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Follower keeps a snapshot up to date. Make it with Follow.
type Follower struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	interval time.Duration
	current  atomic.Pointer[Snapshot]
	refresh  sync.Mutex
}

// Follow loads the directory. Run keeps it up to date, looking every interval.
func Follow(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger, interval time.Duration) (*Follower, error) {
	f := &Follower{pool: pool, log: log, interval: interval}
	s, err := load(ctx, pool, nil, nil)
	f.current.Store(s)
	return f, err
}

// Current is the newest snapshot.
func (f *Follower) Current() *Snapshot { return f.current.Load() }

// Refresh loads what changed.
func (f *Follower) Refresh(ctx context.Context) error {
	f.refresh.Lock()
	defer f.refresh.Unlock()
	s, err := load(ctx, f.pool, f.current.Load(), nil)
	if err == nil {
		f.current.Store(s)
	}
	return err
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f.Refresh(ctx); err != nil && ctx.Err() == nil {
				f.log.Warn("the directory is not up to date", "error", err)
			}
		}
	}
}
