package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/metering/correct"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// correction is what the flags of correct say.
type correction struct {
	account, section, model, from, to, file string
	request                                 correct.Request
}

func correctCommand(o *options) *cobra.Command {
	x := &correction{}
	c := &cobra.Command{Use: "correct rates|whom", Short: "Take back charges that today's directory would make otherwise, and make them anew", Args: exactly(1),
		Long: `rates: charges at the prices, terms and factors that the directory has now for the events' own time. With -f, the file is applied
first, and may then add prices in the past.
whom: charges that were flagged unattributed (or had no membership, or another's team) along the path that the directory gives now: first
give a user the unknown key as an identity, with apply.`,
		RunE: func(c *cobra.Command, args []string) error {
			x.request.What = args[0]
			summary, err := x.run(c.Context(), o)
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, []correct.Summary{summary}, "LOOKED AT\tCORRECTED\tUNKNOWN\tCREDITS", func(s correct.Summary) []string {
				return []string{fmt.Sprint(s.Looked), fmt.Sprint(s.Corrected), fmt.Sprint(s.Unknown), s.Credits.String()}
			})
		}}
	f := c.Flags()
	f.StringVar(&x.account, "account", "", "only this account's charges; required for whom")
	f.StringVar(&x.section, "section", "", "only this section's")
	f.StringVar(&x.model, "model", "", "only this model's; needs --section")
	f.StringVar(&x.from, "from", "", "events from this time on (RFC 3339)")
	f.StringVar(&x.to, "to", "", "events before this time; default: now")
	f.StringVarP(&x.file, "file", "f", "", "apply this file first; it may add prices in the past")
	f.StringVar(&x.request.Reason, "reason", "", "why, for the record")
	f.BoolVar(&x.request.DryRun, "dry-run", false, "say what would be corrected, and correct nothing")
	return c
}

func (x *correction) run(ctx context.Context, o *options) (s correct.Summary, err error) {
	r := &x.request
	if r.From, err = time.Parse(time.RFC3339, x.from); err != nil {
		return s, usageError{fmt.Errorf("--from: %w", err)}
	}
	r.To = time.Now()
	if x.to != "" {
		if r.To, err = time.Parse(time.RFC3339, x.to); err != nil {
			return s, usageError{fmt.Errorf("--to: %w", err)}
		}
	}
	if r.Reason == "" || x.file != "" && r.DryRun {
		return s, usageError{errors.New("name a --reason; -f and --dry-run do not go together")}
	}
	r.Author = author()
	cfg, pool, err := o.database(ctx)
	if err != nil {
		return s, err
	}
	defer pool.Close()
	ch, err := clickhouse.Open(ctx, cfg.ClickHouseURL)
	if err != nil {
		return s, err
	}
	defer ch.Close()
	if err := x.apply(ctx, pool); err != nil {
		return s, err
	}
	ids, err := directory.Lookup(ctx, pool, x.account, x.section, x.model)
	if err != nil {
		return s, err
	}
	r.Account, r.Section, r.Model = ids.Account, ids.Section, ids.Model
	follower, err := metering.Follow(ctx, pool, cfg.logger(), time.Hour)
	if err != nil {
		return s, err
	}
	corrector := &correct.Corrector{Pool: pool, Journal: journal.NewPostgres(pool), Snapshot: follower.Current(), Events: &rollups.Charged{ClickHouse: ch, Postgres: pool}}
	return corrector.Run(ctx, *r)
}

// apply brings the directory to the file first, and waits until every worker charges by it.
func (x *correction) apply(ctx context.Context, pool *pgxpool.Pool) error {
	if x.file == "" {
		return nil
	}
	text, err := os.ReadFile(x.file)
	if err != nil {
		return err
	}
	f, err := directory.Parse(text)
	if err != nil {
		return err
	}
	if _, err := directory.Apply(ctx, pool, f, directory.Options{Author: x.request.Author, Correct: true}); err != nil {
		return err
	}
	select {
	case <-time.After(2 * directorySettles):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
