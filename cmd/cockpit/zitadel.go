package main

import (
	"errors"
	"slices"

	"github.com/alchemi/cockpit/control/signin"
	"github.com/spf13/cobra"
)

func zitadelCommand(o *options) *cobra.Command {
	var token string
	check := &cobra.Command{Use: "check", Short: "What is wrong with how people would sign in", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			if err != nil {
				return err
			}
			if cfg.Issuer == "" {
				return usageError{errors.New("COCKPIT_ISSUER is not set")}
			}
			findings := signin.Check(c.Context(), cfg.signin(), token)
			if cfg.ZitadelKeyFile != "" {
				s, err := cfg.provisioning(nil, nil, nil)
				if err != nil {
					return err
				}
				for _, f := range s.Check(c.Context()) {
					findings = append(findings, signin.Finding{Check: "in step: " + f.Check, Result: f.Result, Detail: f.Detail})
				}
			}
			err = printRows(c.OutOrStdout(), o, findings, "RESULT\tCHECK\tDETAIL", func(f signin.Finding) []string { return []string{f.Result, f.Check, f.Detail} })
			if err == nil && slices.ContainsFunc(findings, func(f signin.Finding) bool { return f.Result == "failed" }) {
				return errFound
			}
			return err
		}}
	check.Flags().StringVar(&token, "token", "", "an access token that should be good: is it, and which roles does it give?")
	c := &cobra.Command{Use: "zitadel", Short: "The issuer that is set (docs/operations/zitadel.md)"}
	c.AddCommand(check, reconcileCommand(o))
	return c
}
