// Package allocation is the arithmetic of budgets, pure: cycles of a plan, effective allocations with their sources,
// Unallocated, equal shares, what is available and what binds, and which thresholds were crossed.
//
// All amounts are micro-credits and exact. In words of the glossary:
//
//	equal share      = ⌊(parent's allocation − Σ children's override or fixed) ÷ number of equal children⌋, never below 0
//	Unallocated      = parent's allocation − Σ override or fixed − Σ equal shares; below 0 is refused
//	effective        = override, else fixed, else equal share, else the nearest ancestor's; plus rollover; then the least of it and the cap
//	Remaining        = effective − used − reserved
//	Available        = the least Remaining over the membership, the user and each ancestor with an allocation or cap of its own
//	crossed at p %   = 100 × used ≥ p × allocation, which did not hold before
//	cycle n          = [local midnight of anchor + n periods, local midnight of anchor + (n+1) periods)
//
// A scope without an allocation of its own passes through: its children draw on the nearest ancestor that has one. Where
// no ancestor has one, there is nothing to divide: who has an equal share inherits, and what is fixed is not backed by
// anything. What a scope divides is its allocation with rollover and cap. A child's rollover was never its parent's to
// give, so it takes nothing from the parent's Unallocated.
//
// Invariants: for each scope with an allocation, what is set aside from it and its Unallocated make up what it has; the
// result does not depend on the order of the scopes; cycles cover time without gaps or overlaps.
//
// It fails, with nothing computed, on a tree that is none (a circle, a parent that is not there, an id twice), on amounts
// below zero (ErrNegative) and on sums that do not fit (credit.ErrOverflow). Setting aside too much is no such failure:
// Used may be above an allocation that was lowered, and people must still see the tree. It is a Shortfall, with which
// whoever changes the tree refuses the change.
//
// Map: tree.go (what goes in), effective.go (what comes out), available.go (what may be spent), threshold.go, cycle.go.
package allocation
