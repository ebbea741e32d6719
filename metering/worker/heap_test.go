package worker

import "testing"

func TestPace(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 100, 1 << 20: 500, 64 << 20: 500, 128 << 20: 200, 192 << 20: 100, 300 << 20: 100, 4 << 30: 100} {
		got := pace(live)
		if got != want {
			t.Errorf("%d MiB live: %d, want %d", live>>20, got, want)
		}
		if heap := live + live*uint64(got)/100; heap > max(heapTarget, 2*live) {
			t.Errorf("%d MiB live may grow to %d MiB", live>>20, heap>>20)
		}
	}
}
