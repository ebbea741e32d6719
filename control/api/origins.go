package api

import (
	"context"
	"slices"
	"sync"
	"time"
)

// How long the origins of registered clients are remembered; shorter where one is not among them: it may be new.
const (
	originsFor = 10 * time.Second
	missesFor  = time.Second
)

// origins are those of pages elsewhere that may call: as configured, and of active clients.
type origins struct {
	api     *API
	mu      sync.Mutex
	at      time.Time // when they were read
	clients []string
}

func (o *origins) allowed(ctx context.Context, origin string) bool {
	if origin == "" || slices.Contains(o.api.cfg.Origins, origin) {
		return origin != ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known := slices.Contains(o.clients, origin)
	age := o.api.cfg.Now().Sub(o.at)
	if known && age < originsFor || !known && age < missesFor {
		return known
	}
	var clients []string
	err := o.api.cfg.Stores.Platform.QueryRow(ctx, `SELECT coalesce(array_agg(DISTINCT o), '{}') FROM clients, unnest(origins) o WHERE state = 'active'`).Scan(&clients)
	if err != nil {
		o.api.cfg.Log.Warn("the origins of clients", "error", err) // those that were known go on
	} else {
		o.clients = clients
	}
	o.at = o.api.cfg.Now()
	return slices.Contains(o.clients, origin)
}
