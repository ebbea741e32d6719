package main

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/closing"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/control/summaries"
	"github.com/alchemi/cockpit/control/unattributed"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/postgres"
	"golang.org/x/sync/errgroup"
)

// startJobs sums up accounts, corrects what was attributed, and ends those whose time has come. Ending needs ClickHouse: what is there is somebody's, too.
func (p *program) startJobs(ctx context.Context, g *errgroup.Group, own *secrets.Keys) error {
	summed := summaries.NewJob(p.stores.Platform, p.log, time.Now)
	g.Go(func() error { return summed.Run(ctx) })
	if p.reads != nil {
		attributed := unattributed.NewJob(unattributed.Config{Pool: p.pool, ClickHouse: p.reads, Audit: auditLog(own), Log: p.log, Now: time.Now})
		g.Go(func() error { return attributed.Run(ctx) })
	}
	if p.cfg.ExportDir == "" {
		return nil
	}
	if p.ch == nil {
		p.log.Warn("closed accounts are not ended by this process: it runs no rollups, and so reaches no ClickHouse")
		return nil
	}
	var err error
	if p.erasure, err = postgres.Open(ctx, p.cfg.PostgresURL, postgres.RoleErasure); err != nil {
		return err
	}
	job := closing.NewJob(closing.Config{Platform: p.stores.Platform, Erasure: p.erasure, Audit: auditLog(own),
		Dir: p.cfg.ExportDir, Log: p.log, Now: time.Now,
		Events: func(ctx context.Context, account int64, f func([]byte) error) error {
			return rollups.Export(ctx, p.ch, account, f)
		},
		Forget: func(ctx context.Context, account int64) error { return rollups.Forget(ctx, p.ch, account) }})
	g.Go(func() error { return job.Run(ctx) })
	return nil
}
