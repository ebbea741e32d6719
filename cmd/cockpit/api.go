package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// startAPI opens the API's stores, and starts it with signing in.
func (p *program) startAPI(ctx context.Context, g *errgroup.Group, server *server) (*api.API, error) {
	own, err := secrets.Load(p.cfg.KeysFile)
	if err != nil {
		return nil, fmt.Errorf("COCKPIT_KEYS_FILE: %w", err)
	}
	if p.stores.App, err = postgres.Open(ctx, p.cfg.PostgresURL, postgres.RoleApp); err != nil {
		return nil, err
	}
	if p.stores.Platform, err = postgres.Open(ctx, p.cfg.PostgresURL, postgres.RolePlatform); err != nil {
		return nil, err
	}
	if err := p.startAudit(ctx, g, own); err != nil {
		return nil, err
	}
	if p.cfg.ClickHouseURL != "" {
		if p.reads, err = clickhouse.Dial(p.cfg.ClickHouseURL); err != nil {
			return nil, err
		}
	}
	people, err := p.startSignin(ctx, g, server, own)
	if err != nil {
		return nil, err
	}
	if err := p.startProvisioning(ctx, g, server, own); err != nil {
		return nil, err
	}
	a := control.New(api.Config{Stores: p.stores, Authenticator: people, Audit: auditLog(own), Cipher: own, ClickHouse: p.reads, Log: p.log,
		Now: time.Now, Version: apiVersion, PublicURL: p.cfg.PublicURL, RequestsPerSecond: p.cfg.Requests, Origins: p.cfg.Origins, Observe: p.observe})
	g.Go(func() error { return a.Run(ctx) })
	if err := p.startJobs(ctx, g, own); err != nil {
		return nil, err
	}
	return a, nil
}

const auditKeyLen = 32

// observe counts a request of the API.
func (p *program) observe(operation string, status int, took time.Duration) {
	p.requests.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
}

func newRequests() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cockpit_api_request_seconds", Help: "How long requests of the API took, by operation and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"operation", "status"})
}
