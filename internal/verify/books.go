package verify

import (
	"context"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"
)

type scopeCycle struct{ scope, cycle int64 }

// sum is exact whatever it adds up.
type sum struct {
	credits *big.Int
	events  int64
}

// debit adds a decision to every scope of its path.
func debit(to map[scopeCycle]sum, d *decision) {
	var events int64
	switch d.kind {
	case charged, recharge:
		events = 1
	case reversal:
		events = -1
	default:
		return
	}
	scopes := d.path.scopes
	if d.path.user != 0 {
		scopes = append(scopes[:len(scopes):len(scopes)], d.path.user)
	}
	for _, s := range scopes {
		k := scopeCycle{s, d.path.cycle}
		t := to[k]
		if t.credits == nil {
			t.credits = new(big.Int)
		}
		t.credits.Add(t.credits, big.NewInt(d.credits))
		t.events += events
		to[k] = t
	}
}

// books checks I1 (checkpoints are the sums of the journal below the fold's positions) and I3 (ranges are contiguous).
func (v *verification) books(ctx context.Context) error {
	i1 := v.results["I1"]
	rows, err := v.tx.Query(ctx, `SELECT scope_id, extract(epoch FROM cycle_start)::bigint, used, events FROM balances`)
	if err != nil {
		return err
	}
	seen := map[scopeCycle]bool{}
	var k scopeCycle
	var used, events int64
	_, err = pgx.ForEachRow(rows, []any{&k.scope, &k.cycle, &used, &events}, func() error {
		i1.Checked++
		seen[k] = true
		if v.dir.kinds[k.scope] == "" {
			i1.fail("the balance of scope %d is of no scope", k.scope)
		}
		want := v.folded[k]
		if want.credits == nil {
			want.credits = new(big.Int)
		}
		if want.credits.Cmp(big.NewInt(used)) != 0 || want.events != events {
			i1.fail("scope %d in the cycle from %s: checkpoint %d micro-credits of %d events, journal %d of %d", k.scope, stamp(k.cycle), used, events, want.credits, want.events)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, want := range v.folded {
		if !seen[k] && (want.credits.Sign() != 0 || want.events != 0) {
			i1.fail("scope %d in the cycle from %s: no checkpoint, journal %d micro-credits", k.scope, stamp(k.cycle), want.credits)
		}
	}
	v.tree(i1)
	return v.ranges(ctx)
}

// tree checks that what was charged below a scope was charged to it: every path was debited as a whole.
func (v *verification) tree(i1 *Result) {
	roots := map[scopeCycle]*big.Int{} // by account root, what its users and nobody were charged
	for k, s := range v.sums {
		if root := v.dir.rootOf[k.scope]; root != 0 && v.dir.kinds[k.scope] == "account" {
			roots[k] = s.credits
		}
	}
	for k, s := range v.sums {
		root := v.dir.rootOf[k.scope]
		if have := roots[scopeCycle{root, k.cycle}]; root != 0 && (have == nil || have.Cmp(s.credits) < 0 && s.credits.Sign() >= 0) {
			i1.fail("scope %d in the cycle from %s was charged more than its account", k.scope, stamp(k.cycle))
		}
	}
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

func (v *verification) ranges(ctx context.Context) error {
	i3 := v.results["I3"]
	rows, err := v.tx.Query(ctx, `SELECT offsets_id, from_pos, to_pos, generation FROM journal ORDER BY offsets_id, from_pos`)
	if err != nil {
		return err
	}
	last := map[int64][2]int64{}
	var log, from, to, generation int64
	_, err = pgx.ForEachRow(rows, []any{&log, &from, &to, &generation}, func() error {
		i3.Checked++
		if before, ok := last[log]; ok && before[0] != from {
			i3.fail("log %d: a row ends at %d and the next begins at %d", log, before[0], from)
		} else if ok && before[1] > generation {
			i3.fail("log %d: generation %d after %d at %d", log, generation, before[1], from)
		}
		last[log] = [2]int64{to, generation}
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range v.logs {
		if end, ok := last[l.id]; ok && end[0] != l.next {
			i3.fail("log %d (%s/%d): the journal ends at %d and the position is %d", l.id, l.topic, l.partition, end[0], l.next)
		}
	}
	return nil
}
