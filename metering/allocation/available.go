package allocation

import (
	"fmt"

	"github.com/alchemi/cockpit/metering/credit"
)

// Usage is what was charged in a cycle and what open reservations hold, by scope. A scope that is not there has nothing.
type Usage struct {
	Used     map[int64]credit.Amount // below zero after corrections of late charges, say
	Reserved map[int64]credit.Amount
}

// Remaining is what a scope has, less used, less reserved; below zero where more was used than it has.
func (e *Effective) Remaining(used, reserved credit.Amount) (credit.Amount, error) {
	// Neither what it has nor what is reserved is below zero, so that only the last step can overflow.
	rest, err := credit.Sub(e.Allocation, reserved)
	if err != nil {
		return 0, err
	}
	return credit.Sub(rest, used)
}

// Availability is what may still be spent along a path.
type Availability struct {
	Amount  credit.Amount // where Limited
	Binding int64         // the scope that has the least left; of several, the first
	Limited bool          // false: no scope of the path has an allocation or a cap
}

// Available is the least Remaining over the scopes of a path that have an allocation or a cap of their own. The path is
// the account's scope first, then down to the membership, and the user's scope. A scope that is not in the tree is an
// error, and so is a Remaining that does not fit: what is unknown must not be spent.
func (t *Tree) Available(path []int64, u Usage) (Availability, error) {
	var a Availability
	for _, id := range path {
		eff, ok := t.Effective[id]
		if !ok {
			return Availability{}, fmt.Errorf("scope %d of the path is not in the tree", id)
		}
		if !eff.Own {
			continue
		}
		remaining, err := eff.Remaining(u.Used[id], u.Reserved[id])
		if err != nil {
			return Availability{}, fmt.Errorf("scope %d: what remains: %w", id, err)
		}
		if !a.Limited || remaining < a.Amount {
			a = Availability{Amount: remaining, Binding: id, Limited: true}
		}
	}
	return a, nil
}
