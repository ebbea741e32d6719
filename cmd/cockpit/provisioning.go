package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// checkProvisioning names every mistake in how ZITADEL is kept in step, and reads the secrets' file.
func (c *config) checkProvisioning(check func(ok bool, format string, args ...any)) {
	if c.ZitadelSecretFile != "" {
		check(len(c.ZitadelSecrets) == 0, "COCKPIT_ZITADEL_WEBHOOK_SECRET and COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE are both set")
		text, err := os.ReadFile(c.ZitadelSecretFile)
		check(err == nil, "COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE: %v", err)
		c.ZitadelSecrets = strings.Fields(string(text))
		check(err != nil || len(c.ZitadelSecrets) > 0, "COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE: %s is empty", c.ZitadelSecretFile)
	}
	for _, s := range c.ZitadelSecrets {
		check(s != "", "COCKPIT_ZITADEL_WEBHOOK_SECRET has an empty one in it")
	}
	if c.ZitadelKeyFile == "" {
		check(c.ZitadelURL+c.ZitadelInstance == "" && len(c.ZitadelSecrets) == 0, "COCKPIT_ZITADEL_URL, COCKPIT_ZITADEL_INSTANCE or COCKPIT_ZITADEL_WEBHOOK_SECRET is set, and COCKPIT_ZITADEL_KEY_FILE is not")
		return
	}
	check(c.Issuer != "" && c.Organization != "", "COCKPIT_ZITADEL_KEY_FILE is set, and COCKPIT_ISSUER or COCKPIT_PLATFORM_ORGANIZATION is not")
	_, err := c.provisioning(nil, nil, nil)
	check(err == nil, "COCKPIT_ZITADEL_KEY_FILE, COCKPIT_ZITADEL_URL: %v", err)
}

// provisioning is the service that the settings say.
func (c *config) provisioning(pool *pgxpool.Pool, log *audit.Log, metrics *provisioning.Metrics) (*provisioning.Service, error) {
	key, err := os.ReadFile(c.ZitadelKeyFile)
	if err != nil {
		return nil, err
	}
	return provisioning.New(provisioning.Config{Issuer: c.Issuer, URL: c.ZitadelURL, Key: key, Project: c.ProjectID, Platform: c.Organization, Instance: c.ZitadelInstance,
		Secrets: c.ZitadelSecrets, PrivateHosts: c.PrivateHosts, Pool: pool, Audit: log, Log: c.logger(), Now: time.Now, Metrics: metrics})
}

// startProvisioning keeps ZITADEL in step, if a service user's key is set, and takes its events.
func (p *program) startProvisioning(ctx context.Context, g *errgroup.Group, server *server, own *secrets.Keys) error {
	if p.cfg.ZitadelKeyFile == "" {
		return provisioning.Switch(ctx, p.stores.Platform, "")
	}
	s, err := p.cfg.provisioning(p.stores.Platform, auditLog(own), p.inStep)
	if err != nil {
		return err
	}
	if err := provisioning.Switch(ctx, p.stores.Platform, p.cfg.Issuer); err != nil {
		return err
	}
	server.mux.Handle(provisioning.Path, s.Handler())
	g.Go(func() error { return s.Run(ctx) })
	return nil
}

func reconcileCommand(o *options) *cobra.Command {
	var apply bool
	c := &cobra.Command{Use: "reconcile", Short: "What differs between the cockpit and ZITADEL's lists; exit 1 if something does, and was not mended", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, pool, err := o.auditStore(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			if cfg.ZitadelKeyFile == "" {
				return usageError{errors.New("COCKPIT_ZITADEL_KEY_FILE is not set")}
			}
			own, err := secrets.Load(o.keysFile(cfg))
			if err != nil {
				return fmt.Errorf("what is mended is on record by the program's keys (COCKPIT_KEYS_FILE): %w", err)
			}
			s, err := cfg.provisioning(pool, auditLog(own), nil)
			if err != nil {
				return err
			}
			return reconcile(c, o, s, apply)
		}}
	c.Flags().BoolVar(&apply, "apply", false, "mend what differs, as its events would have; what is set back at ZITADEL, a running cockpit does")
	return c
}

func reconcile(c *cobra.Command, o *options, s *provisioning.Service, apply bool) error {
	var found []provisioning.Difference
	err := s.Reconcile(c.Context(), apply, func(d provisioning.Difference) { found = append(found, d) })
	if printed := printRows(c.OutOrStdout(), o, found, "KIND\tNAME\tFIELD\tHERE\tAT ZITADEL\tRULE", func(d provisioning.Difference) []string {
		return []string{d.Kind, d.Name, d.Field, d.Here, d.There, d.Rule}
	}); err == nil {
		err = printed
	}
	if err == nil && !apply && len(found) > 0 {
		return errFound
	}
	return err
}
