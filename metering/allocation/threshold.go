package allocation

import (
	"math/bits"

	"github.com/alchemi/cockpit/metering/credit"
)

// Reached says whether used is at least percent of the allocation. Nothing used reaches nothing, and anything used
// reaches everything of an allocation of nothing.
func Reached(used, allocation credit.Amount, percent int) bool {
	if used <= 0 || percent < 0 {
		return false
	}
	if allocation <= 0 {
		return true
	}
	uh, ul := bits.Mul64(uint64(used), 100)
	ah, al := bits.Mul64(uint64(allocation), uint64(percent))
	return uh > ah || uh == ah && ul >= al
}

// Crossings are the thresholds, in percent and in the order given, that used reaches now and did not reach before: by a
// charge, by a lowered allocation, or by both.
func Crossings(before, after, allocBefore, allocAfter credit.Amount, thresholds []int) []int {
	var crossed []int
	for _, percent := range thresholds {
		if Reached(after, allocAfter, percent) && !Reached(before, allocBefore, percent) {
			crossed = append(crossed, percent)
		}
	}
	return crossed
}
