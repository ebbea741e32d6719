package main

import (
	"fmt"

	"github.com/alchemi/cockpit/control/secrets"
	"github.com/spf13/cobra"
)

func secretsCommand() *cobra.Command {
	c := &cobra.Command{Use: "secrets", Short: "The program's own keys (COCKPIT_KEYS_FILE)"}
	c.AddCommand(
		&cobra.Command{Use: "init FILE", Short: "Make a key file; it never replaces one", Args: exactly(1),
			RunE: func(c *cobra.Command, args []string) error {
				if err := secrets.Create(args[0]); err != nil {
					return err
				}
				fmt.Fprintf(c.ErrOrStderr(), "%s: keep a copy of it; without it every session ends and nothing that was sealed opens again\n", args[0])
				return nil
			}},
		&cobra.Command{Use: "rotate FILE", Short: "Add keys that write from the next start on; the old ones still read", Args: exactly(1),
			RunE: func(_ *cobra.Command, args []string) error { return secrets.Rotate(args[0]) }})
	return c
}
