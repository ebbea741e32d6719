// Package pause is how what works in the background waits between two looks. It owns that and nothing else, keeps no state, and
// can't fail.
package pause

import (
	"context"
	"time"
)

// For waits for d, and says whether ctx goes on after it.
func For(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
