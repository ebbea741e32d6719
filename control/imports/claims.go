package imports

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// claims are what all lines of a file name: a hash each, since a file may be long.
type claims struct {
	list []claim
}

type claim struct {
	hash [16]byte
	line int32
}

func newClaim(text string, line int) claim {
	sum := sha256.Sum256([]byte(text))
	return claim{[16]byte(sum[:16]), int32(line)}
}

func (a claim) compare(b claim) int { return bytes.Compare(a.hash[:], b.hash[:]) }

func (c *claims) add(line int, texts []string) {
	for _, text := range texts {
		c.list = append(c.list, newClaim(text, line))
	}
}

// sort must be called between add and check. Lines that name the same stay in order.
func (c *claims) sort() { slices.SortStableFunc(c.list, claim.compare) }

// namedMax is how many lines a reason names.
const namedMax = 5

// check finds l bad if another line names what it names. Both are: nobody can say which is meant.
func (c *claims) check(l *Line, texts []string) {
	for _, text := range texts {
		first, _ := slices.BinarySearchFunc(c.list, newClaim(text, 0), claim.compare)
		last := first
		var lines []string
		for ; last < len(c.list) && c.list[last].hash == c.list[first].hash; last++ {
			if number := fmt.Sprint(c.list[last].line); len(lines) < namedMax && !slices.Contains(lines, number) {
				lines = append(lines, number)
			}
		}
		if len(lines) > 1 {
			column, _, _ := strings.Cut(text, " ")
			if last-first > namedMax {
				lines = append(lines, "…")
			}
			l.Fail(column, "named_twice", "the lines "+strings.Join(lines, ", ")+" name the same")
		}
	}
}
