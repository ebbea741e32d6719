package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func tokenCommand(o *options) *cobra.Command {
	var as string
	var opaque bool
	c := &cobra.Command{Use: "token", Short: "A token for curl, from the issuer of a running dev", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if as == "" {
				return usageError{errors.New("--as is not set: " + asHelp)}
			}
			_, e, err := o.reach()
			if err != nil {
				return err
			}
			token := e.ServiceKey
			if as != "product" {
				if token, err = e.token(c.Context(), as, opaque); err != nil {
					return err
				}
			}
			if o.json {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"token": token})
			}
			fmt.Fprintln(c.OutOrStdout(), token)
			return nil
		}}
	c.Flags().StringVar(&as, "as", "", asHelp)
	c.Flags().BoolVar(&opaque, "opaque", false, "one that says nothing by itself, instead of a JWT")
	return c
}

const asHelp = "super_admin, account_admin:ACCOUNT, account_viewer:ACCOUNT, section_admin:ACCOUNT/SECTION, end_user:ACCOUNT or product"

// token asks dev's issuer for a token of somebody; whoever has endpoints.json may.
func (e *endpoints) token(ctx context.Context, as string, opaque bool) (string, error) {
	if e.Issuer == "" {
		return "", errors.New("there is no dev with an issuer of its own; ask the issuer that is set (COCKPIT_ISSUER)")
	}
	client := strings.Replace(as, ":", "@", 1)
	if opaque {
		client = "opaque:" + client
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {e.IssuerSecret}, "scope": {"openid"}}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Issuer+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the issuer: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		Token       string `json:"access_token"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("ask the issuer: %s: %w", res.Status, err)
	}
	if answer.Token == "" {
		return "", fmt.Errorf("no token for %q: %s %s (%s)", as, answer.Error, answer.Description, asHelp)
	}
	return answer.Token, nil
}
