package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var chosen []string
	c := &cobra.Command{Use: "serve", Short: "Run modules against the stores that the environment names", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			var errs []error
			errs = append(errs, err)
			for _, m := range chosen {
				if !slices.Contains(modules, m) {
					errs = append(errs, usageError{fmt.Errorf("there is no module %q (%s)", m, strings.Join(modules, ", "))})
				}
			}
			if err == nil {
				for name, set := range map[string]bool{"COCKPIT_KAFKA_BROKERS": len(cfg.KafkaBrokers) > 0, "COCKPIT_POSTGRES_URL": cfg.PostgresURL != "",
					"COCKPIT_CLICKHOUSE_URL": cfg.ClickHouseURL != "" || !slices.Contains(chosen, "rollups")} {
					if !set {
						errs = append(errs, usageError{fmt.Errorf("%s is not set, and serve runs no store of its own (dev does)", name)})
					}
				}
				if slices.Contains(chosen, "api") {
					errs = append(errs, cfg.lacksSignin()...)
				}
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			p := newProgram(cfg, chosen, cfg.logger())
			p.durable = true
			return p.run(c.Context(), func() { p.log.Info("ready", "address", cfg.Listen) })
		}}
	c.Flags().StringSliceVar(&chosen, "modules", modules, "which modules this process runs")
	return c
}
