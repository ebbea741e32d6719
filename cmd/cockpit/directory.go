package main

import (
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/spf13/cobra"
)

func migrateCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "migrate", Short: "Bring the databases up to date; safe to run by several at once", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := o.reach()
			if err != nil {
				return err
			}
			n, err := postgres.Migrate(c.Context(), cfg.PostgresURL)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "Postgres: %d migrations applied\n", n)
			if cfg.ClickHouseURL == "" {
				return nil
			}
			conn, err := clickhouse.Open(c.Context(), cfg.ClickHouseURL)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := clickhouse.Migrate(c.Context(), conn); err != nil {
				return err
			}
			fmt.Fprintln(c.ErrOrStderr(), "ClickHouse: up to date")
			return nil
		}}
}

func applyCommand(o *options) *cobra.Command {
	var file string
	var options directory.Options
	c := &cobra.Command{Use: "apply", Short: "Bring the directory to what a file says; again is no change", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := applyFile(c, o, file, options)
			return err
		}}
	c.Flags().StringVarP(&file, "file", "f", "", "the file, or - for standard input")
	c.Flags().BoolVar(&options.DryRun, "dry-run", false, "say what would change, and change nothing")
	c.Flags().BoolVar(&options.Prune, "prune", false, "end what the file leaves out of the accounts that it names")
	return c
}

func diffCommand(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "diff", Short: "What apply would change; exit 1 if anything", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := applyFile(c, o, file, directory.Options{DryRun: true})
			if err == nil && n > 0 {
				return errFound
			}
			return err
		}}
	c.Flags().StringVarP(&file, "file", "f", "", "the file, or - for standard input")
	return c
}

func exportCommand(o *options) *cobra.Command {
	var account string
	c := &cobra.Command{Use: "export", Short: "The file that apply reads; applying it changes nothing", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			f, notes, err := directory.Export(c.Context(), pool, account)
			if err != nil {
				return err
			}
			text, err := f.YAML()
			if err != nil {
				return err
			}
			for _, n := range notes {
				fmt.Fprintln(c.ErrOrStderr(), n)
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		}}
	c.Flags().StringVar(&account, "account", "", "one account alone, without the platform's sections, sources, models and plans")
	return c
}

func applyFile(c *cobra.Command, o *options, file string, options directory.Options) (changes int, err error) {
	if file == "" {
		return 0, usageError{fmt.Errorf("name the file with -f")}
	}
	var text []byte
	if file == "-" {
		text, err = io.ReadAll(c.InOrStdin())
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return 0, err
	}
	f, err := directory.Parse(text)
	if err != nil {
		return 0, err
	}
	cfg, pool, err := o.database(c.Context())
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	options.Author = author()
	if !options.DryRun {
		r, err := o.recorder(c, cfg)
		if err != nil {
			return 0, err
		}
		if r != nil {
			options.Record = r.applied
		}
	}
	lines, err := directory.Apply(c.Context(), pool, f, options)
	if err != nil {
		return 0, err
	}
	type change struct {
		Change string `json:"change"`
	}
	rows := make([]change, len(lines))
	for i, l := range lines {
		rows[i].Change = l
	}
	if !o.json {
		fmt.Fprintf(c.ErrOrStderr(), "%d changes\n", len(rows))
	}
	return len(rows), printRows(c.OutOrStdout(), o, rows, "CHANGE", func(r change) []string { return []string{r.Change} })
}

// author is who is on record for what a command changes.
func author() string {
	if u, err := user.Current(); err == nil {
		return "cli:" + u.Username
	}
	return "cli"
}
