package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/alchemi/cockpit/control/issuer"
	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/control/signin"
	"golang.org/x/sync/errgroup"
)

const (
	issuerPath = "/issuer"
	devKeys    = "keys.json" // dev's own key file, in its data directory
)

// signin is the part of the settings that says how people sign in.
func (c *config) signin() signin.Config {
	return signin.Config{Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, ProjectID: c.ProjectID, Organization: c.Organization,
		PublicURL: c.PublicURL, Log: c.logger()}
}

// checkSignin names every mistake in how people sign in, and reads the secret's file.
func (c *config) checkSignin(check func(ok bool, format string, args ...any)) {
	if c.ClientSecretFile != "" {
		check(c.ClientSecret == "", "COCKPIT_CLIENT_SECRET and COCKPIT_CLIENT_SECRET_FILE are both set")
		text, err := os.ReadFile(c.ClientSecretFile)
		check(err == nil, "COCKPIT_CLIENT_SECRET_FILE: %v", err)
		c.ClientSecret = strings.TrimRight(string(text), "\r\n")
		check(err != nil || c.ClientSecret != "", "COCKPIT_CLIENT_SECRET_FILE: %s is empty", c.ClientSecretFile)
	}
	if c.Issuer == "" {
		check(c.ClientID+c.ClientSecret+c.ProjectID+c.Organization == "", "COCKPIT_CLIENT_ID, COCKPIT_CLIENT_SECRET, COCKPIT_PROJECT_ID or COCKPIT_PLATFORM_ORGANIZATION is set, and COCKPIT_ISSUER is not")
		return
	}
	valid := c.signin()
	if valid.PublicURL == "" {
		valid.PublicURL = "http://localhost" // dev's own, which is known when it listens
	}
	err := valid.Validate()
	check(err == nil, "COCKPIT_ISSUER, COCKPIT_CLIENT_ID, COCKPIT_PROJECT_ID, COCKPIT_PUBLIC_URL: %v", err)
}

// lacksSignin are the settings without which nobody could sign in at `serve`.
func (c *config) lacksSignin() (errs []error) {
	for _, s := range []struct{ name, value string }{{"COCKPIT_ISSUER", c.Issuer}, {"COCKPIT_PUBLIC_URL", c.PublicURL}, {"COCKPIT_KEYS_FILE", c.KeysFile}} {
		if s.value == "" {
			errs = append(errs, usageError{fmt.Errorf("%s is not set, and the module api needs it", s.name)})
		}
	}
	return errs
}

// keysFile makes dev's own key file, where none is named.
func (d *dev) keysFile() error {
	if d.cfg.KeysFile != "" {
		return nil
	}
	d.cfg.KeysFile = filepath.Join(d.data, devKeys)
	if err := secrets.Create(d.cfg.KeysFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// startSignin serves /auth/, and dev's own issuer where no other one is set.
func (p *program) startSignin(ctx context.Context, g *errgroup.Group, server *server, own *secrets.Keys) (s *signin.Service, err error) {
	if p.cfg.PublicURL == "" {
		p.cfg.PublicURL = "http://" + local(p.cfg.Listen)
	}
	if p.dev && p.cfg.Issuer == "" {
		p.cfg.Issuer = "http://" + local(p.cfg.Listen) + issuerPath
		if p.own, err = issuer.New(issuer.Config{URL: p.cfg.Issuer, PublicURL: p.cfg.PublicURL, Keys: own, Pool: p.stores.Platform}); err != nil {
			return nil, err
		}
		p.cfg.ClientID, p.cfg.ClientSecret, p.cfg.ProjectID, p.cfg.Organization = issuer.ClientID, p.own.ClientSecret(), issuer.ProjectID, issuer.Organization
		server.mux.Handle(issuerPath+"/", p.own)
	}
	if s, err = signin.New(p.cfg.signin(), p.stores.Platform, own, keys.NewStore(p.pool)); err != nil {
		return nil, err
	}
	server.mux.Handle("/auth/", s.Handler())
	g.Go(func() error { return s.Run(ctx) })
	return s, nil
}

// local is how this machine reaches an address that it listens on.
func local(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}
