package main

import (
	"fmt"
	"runtime/debug"

	"github.com/alchemi/cockpit/internal/verify"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/spf13/cobra"
)

// gcPercent is how much garbage may stand beside what verify holds.
const gcPercent = 40

func verifyCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "verify", Short: "Prove the books: invariants I1 to I7; exit 1 if one fails", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := o.reach()
			if err != nil {
				return err
			}
			pool, err := postgres.Open(c.Context(), cfg.PostgresURL, postgres.RoleMetering)
			if err != nil {
				return err
			}
			defer pool.Close()
			stores := verify.Stores{Postgres: pool, Kafka: cfg.kafka()}
			if cfg.ClickHouseURL != "" {
				if stores.ClickHouse, err = clickhouse.Open(c.Context(), cfg.ClickHouseURL); err != nil {
					return err
				}
				defer stores.ClickHouse.Close()
			}
			// It runs beside what it verifies: half the memory is worth a little more time.
			debug.SetGCPercent(gcPercent)
			results, err := verify.Run(c.Context(), stores, c.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := printRows(c.OutOrStdout(), o, results, "ID\tOK\tCHECKED\tDETAIL", func(r verify.Result) []string {
				return []string{r.ID, fmt.Sprint(r.OK), fmt.Sprint(r.Checked), r.Detail}
			}); err != nil {
				return err
			}
			for _, r := range results {
				if !r.OK {
					return errFound
				}
			}
			return nil
		}}
}
