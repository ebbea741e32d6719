package api

import (
	"context"
	"slices"
	"sync"
	"time"
)

// originsFor is how long the origins of registered clients are remembered.
const originsFor = 10 * time.Second

// origins are those of pages elsewhere that may call: as configured, and of active clients.
type origins struct {
	api     *API
	mu      sync.Mutex
	until   time.Time
	clients []string
}

func (o *origins) allowed(ctx context.Context, origin string) bool {
	if slices.Contains(o.api.cfg.Origins, origin) {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := o.api.cfg.Now(); now.After(o.until) {
		var clients []string
		err := o.api.cfg.Stores.Platform.QueryRow(ctx, `SELECT coalesce(array_agg(DISTINCT o), '{}') FROM clients, unnest(origins) o WHERE state = 'active'`).Scan(&clients)
		if err != nil {
			o.api.cfg.Log.Warn("the origins of clients", "error", err) // those that were known go on
		} else {
			o.clients = clients
		}
		o.until = now.Add(originsFor)
	}
	return slices.Contains(o.clients, origin)
}
