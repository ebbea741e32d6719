package main

import (
	"errors"
	"time"

	"github.com/alchemi/cockpit/internal/bench"
	"github.com/spf13/cobra"
)

func benchCommand(o *options) *cobra.Command {
	var gates []string
	b := bench.Options{}
	c := &cobra.Command{Use: "bench", Short: "Measure the performance gates, as ratios against honest baselines in the same run", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			b.Progress = c.ErrOrStderr()
			results, err := bench.Run(c.Context(), gates, b)
			// What was measured before a gate failed is shown all the same.
			return errors.Join(err, printRows(c.OutOrStdout(), o, results, "GATE\tMEASURE\tUNIT\tOURS\tBASELINE\tRATIO\tSPREAD\tGOAL\tVERDICT\tSETTINGS", benchRow))
		}}
	c.AddCommand(benchVerifyCommand(o))
	f := c.Flags()
	f.StringSliceVar(&gates, "gate", bench.Gates(), "which gates")
	f.IntVar(&b.Events, "events", 500_000, "in Kafka, for the gates of the durable path")
	f.IntVar(&b.Rounds, "rounds", 5, "of baseline and ours each")
	f.IntVar(&b.Accounts, "accounts", 1000, "in the directory")
	f.IntVar(&b.Users, "users", 100, "of each account")
	f.IntVar(&b.ActiveUsers, "active-users", 1_000_000, "of P13, against 1,000; each has two events")
	f.IntVar(&b.ManyAccounts, "many-accounts", 10_000, "of P13, against 10")
	f.IntVar(&b.ChartedEvents, "charted-events", 10_000_000, "of P11, in ClickHouse")
	f.DurationVar(&b.PromiseTime, "promise-time", 30*time.Second, "a round of P12 lasts")
	f.DurationVar(&b.Backlog, "backlog", time.Minute, "of memory; performance.md asks for 10m")
	f.IntVar(&b.BacklogRate, "backlog-rate", 10_000, "events a second of the backlog")
	f.StringVar(&b.Profile, "profile", "", "write a CPU profile of the last round of ours into this file")
	return c
}

func benchRow(r bench.Result) []string {
	baseline, ratio, goal := "-", "-", "-"
	if r.Baseline != 0 {
		baseline, ratio = bench.Figure(r.Baseline), bench.Figure(r.Ratio)
	}
	if r.Goal != 0 {
		goal = "≥ " + bench.Figure(r.Goal)
		if r.AtMost {
			goal = "≤ " + bench.Figure(r.Goal)
		}
	}
	return []string{r.Gate, r.What, r.Unit, bench.Figure(r.Ours), baseline, ratio, bench.Figure(r.Low) + "-" + bench.Figure(r.High), goal, r.Verdict, r.Settings}
}
