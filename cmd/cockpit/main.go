// Command cockpit governs AI products' usage: it meters events from Kafka, keeps balances in Postgres and rollups in
// ClickHouse, and serves the API (docs/architecture.md).
//
// This folder is the program's wiring and nothing else: one small file a subcommand. Exit codes: 0 fine, 1 it ran and
// found something wrong, 2 used wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/spf13/cobra"
)

// errFound says that a command ran and found something wrong, which it has printed.
var errFound = errors.New("")

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func main() {
	if engine.Child() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if err.Error() != "" {
		fmt.Fprintln(os.Stderr, "cockpit:", err)
	}
	var used usageError
	if errors.As(err, &used) {
		os.Exit(2)
	}
	os.Exit(1)
}

// options are the flags that every command has.
type options struct {
	data string
	json bool
}

func root() *cobra.Command {
	o := &options{}
	c := &cobra.Command{Use: "cockpit", Short: "Governs the use of AI products: meters, budgets, alerts", SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}}
	c.PersistentFlags().StringVar(&o.data, "data", ".cockpit", "directory of the local `cockpit dev`")
	c.PersistentFlags().BoolVar(&o.json, "json", false, "JSON on stdout, and nothing else there")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.AddCommand(devCommand(o), serveCommand(), openapiCommand(), migrateCommand(o), applyCommand(o), diffCommand(o), exportCommand(o), emitCommand(o), balancesCommand(o), verifyCommand(o), auditCommand(o),
		dlqCommand(o), offsetsCommand(o), correctCommand(o), benchCommand(o), keysCommand(o), secretsCommand(), tokenCommand(o), zitadelCommand(o), configCommand(o))
	for _, group := range append(c.Commands(), c) {
		if group.RunE == nil {
			group.Args, group.RunE = exactly(0), func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return c
}

// exactly is cobra.ExactArgs with our exit code.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if n == 0 && len(args) > 0 {
			return usageError{fmt.Errorf("%s knows no %q", c.CommandPath(), args[0])}
		}
		if err := cobra.ExactArgs(n)(c, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
