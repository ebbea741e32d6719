// Package allocation is the arithmetic of budgets, pure: cycles of a plan, effective allocations with their sources,
// Unallocated, equal shares, what is available and what binds, and which thresholds were crossed.
//
// All amounts are micro-credits and exact. In words of the glossary:
//
//	equal share      = ⌊(parent's allocation − Σ children's override or fixed) ÷ number of equal children⌋, never below 0
//	Unallocated      = parent's allocation − Σ override or fixed − Σ equal shares; below 0 is refused
//	effective        = override, else fixed, else equal share, else the nearest ancestor's; then the least of it and the cap
//	Remaining        = effective − used − reserved
//	Available        = the least Remaining over the membership, the user and each ancestor with an allocation or cap of its own
//
// A scope without an allocation of its own passes through: its children draw on the nearest ancestor that has one. Where
// no ancestor has one, there is nothing to divide: an equal share is nothing, and what is fixed is not backed by anything.
package allocation
