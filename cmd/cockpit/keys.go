package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/keys"
	"github.com/spf13/cobra"
)

func keysCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "Service keys: what products and gateways send events with"}
	c.AddCommand(keysCreate(o), keysList(o), keysRevoke(o))
	return c
}

// keyStore are the keys of a running cockpit; what is changed is on record.
func (o *options) keyStore(c *cobra.Command) (s *keys.Store, done func(), err error) {
	cfg, pool, err := o.database(c.Context())
	if err != nil {
		return nil, nil, err
	}
	s = keys.NewStore(pool)
	r, err := o.recorder(c, cfg)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	if r != nil {
		s.Record = r.key
	}
	return s, pool.Close, nil
}

func keysCreate(o *options) *cobra.Command {
	var n keys.New
	var expires time.Duration
	c := &cobra.Command{Use: "create NAME", Short: "Make a key; it is shown once", Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			n.Name = args[0]
			if expires < 0 {
				return usageError{errors.New("--expires must not be negative")}
			}
			if expires > 0 {
				at := time.Now().Add(expires)
				n.ExpiresAt = &at
			}
			store, done, err := o.keyStore(c)
			if err != nil {
				return err
			}
			defer done()
			text, id, err := store.Create(c.Context(), n)
			if err != nil {
				return err
			}
			type made struct {
				ID  int64  `json:"id"`
				Key string `json:"key"`
			}
			return printRows(c.OutOrStdout(), o, []made{{id, text}}, "ID\tKEY (shown once)", func(m made) []string { return []string{fmt.Sprint(m.ID), m.Key} })
		}}
	c.Flags().StringSliceVar(&n.Sources, "source", nil, "sources that it may send as; default: all")
	c.Flags().StringVar(&n.Account, "account", "", "the only account that it may send for; default: whichever its sources may")
	c.Flags().DurationVar(&expires, "expires", 0, "how long it is good; default: until it is revoked")
	return c
}

func keysList(o *options) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "All keys, newest first", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			list, err := keys.NewStore(pool).List(c.Context())
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, list, "ID\tNAME\tKEY\tSOURCES\tACCOUNT\tCREATED\tLAST USED\tREVOKED", func(k keys.Key) []string {
				sources := strings.Join(k.Sources, ",")
				if sources == "" {
					sources = "all"
				}
				account := k.Account
				if account == "" {
					account = strings.Join(k.Accounts, ",")
				}
				return []string{fmt.Sprint(k.ID), k.Name, "ck_…" + k.LastFour, sources, account, k.CreatedAt.UTC().Format(time.RFC3339), showTime(k.LastUsedAt), showTime(k.RevokedAt)}
			})
		}}
}

func showTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func keysRevoke(o *options) *cobra.Command {
	return &cobra.Command{Use: "revoke ID", Short: "End a key", Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("%q is no id of a key", args[0])}
			}
			store, done, err := o.keyStore(c)
			if err != nil {
				return err
			}
			defer done()
			ok, err := store.Revoke(c.Context(), id)
			if err == nil && !ok {
				return fmt.Errorf("there is no key %d that is good", id)
			}
			return err
		}}
}
