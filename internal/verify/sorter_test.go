package verify

import (
	"math/rand/v2"
	"os"
	"testing"
)

// Whatever was added comes back in order, from memory and from runs in files, and no file is left.
func TestSorterOrders(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1000, runBytes/32 + 1, 2*runBytes/32 + 77} {
		s := &sorter[[4]uint64]{dir: t.TempDir()}
		random := rand.New(rand.NewPCG(1, uint64(n)))
		var added, found [4]uint64
		for range n {
			r := [4]uint64{random.Uint64N(1000), random.Uint64N(1000), random.Uint64(), random.Uint64()}
			for i := range r {
				added[i] += r[i] * r[3]
			}
			if err := s.add(r); err != nil {
				t.Fatal(err)
			}
		}
		var last [4]uint64
		count := 0
		if err := s.each(func(r [4]uint64) error {
			if compareWords(last, r) > 0 {
				t.Fatalf("%d records: %v behind %v", n, r, last)
			}
			for i := range r {
				found[i] += r[i] * r[3]
			}
			last = r
			count++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(s.dir)
		if count != n || found != added || len(left) > 0 || err != nil {
			t.Errorf("%d records: %d came back, %v for %v; %d files left, %v", n, count, found, added, len(left), err)
		}
	}
}
