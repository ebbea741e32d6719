package allocation_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
)

// model is the glossary read aloud: a recursion for each scope, in numbers that can't overflow, without a thought for speed.
type model map[int64]allocation.Scope

func big64(v credit.Amount) *big.Int { return big.NewInt(int64(v)) }

// sound says whether it is a tree of amounts that are not below zero.
func (m model) sound() bool {
	for id, s := range m {
		for range len(m) + 1 {
			if id == 0 {
				break
			}
			up, ok := m[id]
			if !ok {
				return false
			}
			id = up.Parent
		}
		if c := m.cap(s); id != 0 || m.own(s) != nil && m.own(s).Sign() < 0 || c != nil && *c < 0 || s.Rollover < 0 {
			return false
		}
	}
	return true
}

func (model) own(s allocation.Scope) *big.Int {
	if s.Override != nil {
		return big64(*s.Override)
	}
	if s.Planned == allocation.Fixed {
		return big64(s.Amount)
	}
	return nil
}

func (model) cap(s allocation.Scope) *credit.Amount {
	if s.CapOverride != nil {
		return s.CapOverride
	}
	return s.Cap
}

// above is the nearest ancestor with an allocation, 0 where there is none.
func (m model) above(s allocation.Scope) int64 {
	for id := s.Parent; id != 0; id = m[id].Parent {
		if m.allocates(m[id]) {
			return id
		}
	}
	return 0
}

func (m model) allocates(s allocation.Scope) bool {
	return m.own(s) != nil || s.Planned == allocation.Equal && m.above(s) != 0
}

// setAside is Σ override or fixed of those that draw on a scope, and how many equal shares there are.
func (m model) setAside(id int64) (sum *big.Int, equal int64) {
	sum = new(big.Int)
	for _, s := range m {
		switch {
		case !m.allocates(s) || m.above(s) != id:
		case m.own(s) != nil:
			sum.Add(sum, m.own(s))
		default:
			equal++
		}
	}
	return sum, equal
}

// divide is the equal share below a scope, and its Unallocated.
func (m model) divide(id int64) (share, unallocated *big.Int) {
	has, _ := m.effective(id)
	sum, equal := m.setAside(id)
	rest := new(big.Int).Sub(has, sum)
	if rest.Sign() < 0 || equal == 0 {
		return new(big.Int), rest
	}
	share = new(big.Int).Quo(rest, big.NewInt(equal))
	return share, rest.Sub(rest, new(big.Int).Mul(share, big.NewInt(equal)))
}

// uncapped is what a scope has but for its cap; nil is no limit.
func (m model) uncapped(id int64) (*big.Int, allocation.Source) {
	s := m[id]
	has, source := m.own(s), allocation.FromFixed
	switch {
	case s.Override != nil:
		source = allocation.FromOverride
	case has != nil:
	case m.allocates(s):
		has, _ = m.divide(m.above(s))
		source = allocation.FromEqual
	default:
		if s.Parent != 0 {
			has, _ = m.effective(s.Parent)
		}
		if has == nil {
			return nil, allocation.FromNowhere
		}
		return has, allocation.FromAncestor
	}
	return new(big.Int).Add(has, big64(s.Rollover)), source
}

func (m model) effective(id int64) (*big.Int, allocation.Source) {
	has, source := m.uncapped(id)
	if c := m.cap(m[id]); c != nil && (has == nil || big64(*c).Cmp(has) < 0) {
		return big64(*c), allocation.FromCap
	}
	return has, source
}

// fits says whether all that the engine keeps is within 64 bits.
func (m model) fits() bool {
	for id := range m {
		has, _ := m.uncapped(id)
		sum, _ := m.setAside(id)
		if has != nil && !has.IsInt64() || !sum.IsInt64() {
			return false
		}
	}
	return true
}

// agree compares what the engine says of scopes with the model.
func agree(scopes []allocation.Scope) error {
	m := model{}
	for _, s := range scopes {
		m[s.ID] = s
	}
	tree, err := allocation.Evaluate(scopes)
	if want := len(m) == len(scopes) && m.sound() && m.fits(); want != (err == nil) {
		return fmt.Errorf("evaluates: %t, but %w", want, err)
	}
	if err != nil {
		return nil
	}
	missing := map[int64]*big.Int{}
	for id, s := range m {
		got := tree.Effective[id]
		has, source := m.effective(id)
		_, before := m.uncapped(id)
		if got.Limited != (has != nil) || has != nil && big64(got.Allocation).Cmp(has) != 0 || got.Source != source || got.BeforeCap != before ||
			got.Own != (m.allocates(s) || m.cap(s) != nil) || got.CapBinds() != (source == allocation.FromCap) {
			return fmt.Errorf("scope %d: %+v, want %s by %s", id, got, has, source)
		}
		if !m.allocates(s) {
			continue
		}
		_, unallocated := m.divide(id)
		if big64(got.Unallocated).Cmp(unallocated) != 0 {
			return fmt.Errorf("scope %d: %s unallocated, want %s", id, got.Unallocated, unallocated)
		}
		if unallocated.Sign() < 0 {
			missing[id] = unallocated.Neg(unallocated)
		}
	}
	for _, s := range tree.Shortfalls {
		if want := missing[s.Scope]; want == nil || want.Cmp(big64(s.Missing)) != 0 {
			return fmt.Errorf("scope %d: %s missing, want %s", s.Scope, s.Missing, want)
		}
	}
	if len(tree.Shortfalls) != len(missing) || (tree.Refusal() == nil) != (len(missing) == 0) {
		return fmt.Errorf("%d shortfalls, want %d", len(tree.Shortfalls), len(missing))
	}
	return nil
}

// decodeBytes is how many of the input make one scope.
const decodeBytes = 8

// decode makes scopes of any bytes: mostly trees, now and then circles, strangers and amounts at the edge of what fits.
func decode(data []byte) []allocation.Scope {
	amounts := []credit.Amount{0, 1, 7, 100, 101, 1_000_000, math.MaxInt64 / 2, math.MaxInt64 - 1, math.MaxInt64, -1}
	amount := func(b byte) credit.Amount {
		if b < 200 {
			return credit.Amount(b) * 3
		}
		return amounts[int(b)%len(amounts)]
	}
	optional := func(b byte) *credit.Amount {
		if b < 128 {
			return nil
		}
		v := amount(b<<1 | b>>7)
		return &v
	}
	var scopes []allocation.Scope
	for record := range slices.Chunk(data, decodeBytes) {
		if len(record) < decodeBytes || len(scopes) == 16 {
			break
		}
		id := int64(len(scopes) + 1)
		s := allocation.Scope{ID: id, Planned: allocation.Planned(record[1] % 3), Amount: amount(record[2]), Override: optional(record[3]),
			Cap: optional(record[4]), CapOverride: optional(record[5])}
		if record[6] >= 192 {
			s.Rollover = amount(record[7])
		}
		switch p := int64(record[0]); {
		case p >= 250:
			s.Parent = p - 245 // forward, itself or a stranger
		case p == 249:
			s.ID = max(1, id-1) // twice
		default:
			s.Parent = p % id // an earlier one, or none
		}
		scopes = append(scopes, s)
	}
	return scopes
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte{0, 1, 100, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 1, 7, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 140, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 160, 0, 200, 255, 9})
	f.Add([]byte{0, 1, 248, 0, 0, 0, 255, 241, 1, 1, 248, 0, 0, 0, 0, 0, 1, 1, 248, 0, 0, 0, 0, 0})
	f.Add([]byte{251, 0, 0, 0, 0, 0, 0, 0, 250, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 1, 0, 0, 0, 0, 0, 249, 1, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := agree(decode(data)); err != nil {
			t.Fatal(err)
		}
	})
}

// A pseudo-random sweep on every run, so that the model is not only asked when someone fuzzes.
func TestEngineAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	evaluated, seed := 0, uint64(1)
	for range 3000 {
		data := make([]byte, 0, 12*decodeBytes)
		for range 2 + seed>>40%11 {
			seed = seed*6364136223846793005 + 1442695040888963407
			mixed := seed ^ seed>>29
			data = binary.LittleEndian.AppendUint64(data, mixed*0x9e3779b97f4a7c15)
		}
		scopes := decode(data)
		if err := agree(scopes); err != nil {
			t.Fatalf("%x: %v", data, err)
		}
		if _, err := allocation.Evaluate(scopes); err == nil {
			evaluated++
		}
	}
	if evaluated < 100 {
		t.Fatalf("only %d of the inputs are trees: the sweep proves nothing", evaluated)
	}
}
