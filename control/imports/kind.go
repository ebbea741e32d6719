package imports

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
)

// Kind is a kind of files: what its lines say, and what becomes of them. P is what the noun will do for a line.
type Kind[P any] struct {
	Name    string // users
	Columns []Column
	Fills   []string // tables that lines fill
	// Claims are what a line names and no other line of the file may name.
	Claims func(l *Line) []string
	// Sort brings the lines of a file into the order in which they are applied, and may find some of them bad. nil: they are
	// applied as they come, and never in memory all at once.
	Sort func(ctx context.Context, c *api.Call, lines []*Line) ([]*Line, error)
	// Judge makes a judge of lines that come in the order in which they are applied, some at a time. What it finds good it takes for
	// done when it judges the next. It changes nothing, passes over lines that are bad, and gives a plan for each.
	Judge func() Judge[P]
	// Apply does what was planned for lines that are to be applied, and puts it on record. The directory is the caller's.
	Apply func(ctx context.Context, c *api.Call, lines []*Line, plans []P) error
}

// Judge finds out what becomes of lines.
type Judge[P any] func(ctx context.Context, c *api.Call, lines []*Line) ([]P, error)

// Claim is what a line names, in the column that names it.
func Claim(column, text string) string { return column + " " + text }
