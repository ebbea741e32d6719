package main

import (
	"fmt"

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
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, results, "GATE\tOURS/S\tBASELINE/S\tRATIO\tSPREAD\tGOAL\tVERDICT\tSETTINGS", func(r bench.Result) []string {
				return []string{r.Gate, fmt.Sprintf("%.0f", r.Ours), fmt.Sprintf("%.0f", r.Baseline), fmt.Sprintf("%.2f", r.Ratio), fmt.Sprintf("%.2f-%.2f", r.Low, r.High),
					fmt.Sprintf("%g", r.Goal), r.Verdict, r.Settings}
			})
		}}
	f := c.Flags()
	f.StringSliceVar(&gates, "gate", bench.Gates, "which gates")
	f.IntVar(&b.Events, "events", 500_000, "in Kafka, for P1 and P2")
	f.IntVar(&b.Rounds, "rounds", 5, "of baseline and ours each")
	f.IntVar(&b.Accounts, "accounts", 1000, "in the directory")
	f.IntVar(&b.Users, "users", 100, "of each account")
	f.StringVar(&b.Profile, "profile", "", "write a CPU profile of the last round of ours into this file")
	return c
}
