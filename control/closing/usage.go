package closing

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
)

// used is one event as the journal has it. Ids are those of the directory's rows.
type used struct {
	Time       time.Time     `json:"time"`
	Decision   string        `json:"decision"`
	Identity   string        `json:"identity"`
	Section    int64         `json:"section"`
	CycleStart time.Time     `json:"cycle_start"`
	Scopes     []int64       `json:"scopes"`
	User       int64         `json:"user,omitempty"`
	Model      int64         `json:"model,omitempty"`
	Price      int64         `json:"price,omitempty"`
	Factor     int64         `json:"factor,omitempty"`
	Credits    credit.Amount `json:"credits"`
	CostUSD    credit.Cost   `json:"cost_usd"`
}

// usage writes what the journal says of the account's events, in the journal's order.
func usage(ctx context.Context, tx pgx.Tx, account int64, w *writer) error {
	rows, err := tx.Query(ctx, `SELECT from_pos, body FROM journal WHERE kind IN ('batch', 'correction') ORDER BY offsets_id, from_pos`)
	if err != nil {
		return err
	}
	var from int64
	var data []byte
	var b journal.Body
	_, err = pgx.ForEachRow(rows, []any{&from, &data}, func() error {
		if err := journal.Decode(data, from, &b); err != nil {
			return err
		}
		for i := range b.Entries {
			e := &b.Entries[i]
			if !e.Decision.HasCharge() || e.Charge.Path >= len(b.Paths) || b.Paths[e.Charge.Path].Account != account {
				continue
			}
			p, c := &b.Paths[e.Charge.Path], &e.Charge
			err := w.put(used{Time: time.UnixMicro(e.TimeMicros).UTC(), Decision: e.Decision.String(), Identity: hex.EncodeToString(e.Identity[:]), Section: p.Section,
				CycleStart: time.Unix(p.CycleStart, 0).UTC(), Scopes: b.Scopes([]int64{}, c), User: c.User, Model: c.Model, Price: c.Price, Factor: c.Factor,
				Credits: credit.Amount(c.Credits), CostUSD: credit.Cost(c.Cost)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
