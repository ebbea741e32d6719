package main

import (
	"fmt"

	"github.com/alchemi/cockpit/internal/bench"
	"github.com/spf13/cobra"
)

func benchVerifyCommand(o *options) *cobra.Command {
	b, withRollups := bench.Options{}, true
	c := &cobra.Command{Use: "verify", Short: "Meter many events and verify them: how long that takes, and how much memory; exit 1 if an invariant fails", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			b.Progress = c.ErrOrStderr()
			v, err := bench.Verify(c.Context(), b, withRollups)
			if err != nil {
				return err
			}
			err = printRows(c.OutOrStdout(), o, []bench.Verified{v}, "EVENTS\tSECONDS\tCPU SECONDS\tEVENTS/S\tPEAK MIB\tFAILED\tSETTINGS", func(v bench.Verified) []string {
				return []string{fmt.Sprint(v.Events), fmt.Sprintf("%.1f", v.Seconds), fmt.Sprintf("%.1f", v.CPUSeconds), fmt.Sprintf("%.0f", v.PerSecond), fmt.Sprint(v.PeakMiB), v.Failed, v.Settings}
			})
			if err == nil && v.Failed != "" {
				err = errFound
			}
			return err
		}}
	f := c.Flags()
	f.IntVar(&b.Events, "events", 10_000_000, "to make")
	f.IntVar(&b.Accounts, "accounts", 1000, "in the directory")
	f.IntVar(&b.Users, "users", 100, "of each account")
	f.BoolVar(&withRollups, "rollups", withRollups, "write ClickHouse's rollups as well, and verify them (I5)")
	return c
}
