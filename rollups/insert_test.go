package rollups

import (
	"fmt"
	"testing"
)

// ClickHouse recognizes an insert that is repeated by its token and takes what comes under a token for the same rows: so they must be
// the same, in the same order, whoever builds them.
func TestRowsStandInOneOrder(t *testing.T) {
	t.Parallel()
	rows := func() (order string) {
		m := map[dims]*sums{}
		for i := range int64(50) {
			m[dims{account: i % 5, section: i % 2, bucket: i % 7, agent: fmt.Sprint(i)}] = &sums{events: i}
		}
		s := sorted("usage_days", m, func(d dims, s *sums) []any { return []any{d, s.events} })
		for i := range s.rows {
			order += fmt.Sprint(s.row(i)...)
		}
		return order
	}
	for first, n := rows(), 0; n < 20; n++ {
		if again := rows(); again != first {
			t.Fatalf("the same sums gave\n%s\nand then\n%s", first, again)
		}
	}
}
