package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/spf13/cobra"
)

// balanceRow is a scope as balances shows it. Amounts are decimals; no effective allocation means no limit.
type balanceRow struct {
	Account             string         `json:"account"`
	Section             string         `json:"section"`
	Kind                string         `json:"kind"`
	ID                  string         `json:"id"`
	Key                 string         `json:"key"`
	ParentKey           string         `json:"parent_key"`
	CycleStart          time.Time      `json:"cycle_start"`
	CycleEnd            time.Time      `json:"cycle_end"`
	EffectiveAllocation *credit.Amount `json:"effective_allocation"`
	Source              string         `json:"source"`
	Used                credit.Amount  `json:"used"`
	Reserved            credit.Amount  `json:"reserved"`
	Remaining           *credit.Amount `json:"remaining"`
	Unallocated         *credit.Amount `json:"unallocated,omitempty"`
	Events              int64          `json:"events"`
}

// prefixes of ids, by kind of scope.
var prefixes = map[string]string{"account": "acc_", "organization": "org_", "team": "team_", "membership": "mem_", "user": "usr_"}

func balancesCommand(o *options) *cobra.Command {
	var account, section, at string
	c := &cobra.Command{Use: "balances", Short: "What each scope of a section may spend, has spent and has left, now", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if account == "" || section == "" {
				return usageError{errors.New("name --account and --section")}
			}
			when := time.Now()
			if at != "" {
				var err error
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					return usageError{fmt.Errorf("--at: %w", err)}
				}
			}
			_, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			r, err := balances.Read(c.Context(), pool, account, section, when)
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, balanceRows(r), "KIND\tKEY\tPARENT\tEFFECTIVE\tSOURCE\tUSED\tREMAINING\tEVENTS", func(b balanceRow) []string {
				return []string{b.Kind, b.Key, b.ParentKey, show(b.EffectiveAllocation), b.Source, b.Used.String(), show(b.Remaining), fmt.Sprint(b.Events)}
			})
		}}
	c.Flags().StringVar(&account, "account", "", "key of the account")
	c.Flags().StringVar(&section, "section", "", "key of the section")
	c.Flags().StringVar(&at, "at", "", "the cycle with this time in it (RFC 3339); default: now")
	return c
}

func show(a *credit.Amount) string {
	if a == nil {
		return "-"
	}
	return a.String()
}

func balanceRows(r *balances.Report) []balanceRow {
	keys := map[int64]string{}
	for _, b := range r.Balances {
		keys[b.ID] = b.Key
	}
	rows := make([]balanceRow, 0, len(r.Balances))
	for i := range r.Balances {
		b := &r.Balances[i]
		row := balanceRow{Account: r.Account, Section: r.Section, Kind: b.Kind, ID: fmt.Sprint(prefixes[b.Kind], b.ID), Key: b.Key, ParentKey: keys[b.Parent],
			CycleStart: r.CycleStart.UTC(), CycleEnd: r.CycleEnd.UTC(), Source: string(b.Source), Used: b.Used, Reserved: b.Reserved, Events: b.Events}
		if b.Limited {
			remaining := b.Remaining()
			row.EffectiveAllocation, row.Remaining = &b.Allocation, &remaining
		}
		if b.Own && b.Limited && b.Source != "cap" {
			row.Unallocated = &b.Unallocated
		}
		rows = append(rows, row)
	}
	return rows
}
