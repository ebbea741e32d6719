package dedupe

import (
	"fmt"
	"syscall"
)

// allocate maps n bytes of zeros outside of the Go heap. Large pages are asked for, since probes are at random: it is no
// matter if there are none.
func allocate(n int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for the dedupe window: %w", n, err)
	}
	if n >= hugePage {
		_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE)
	}
	return b, nil
}

const hugePage = 2 << 20

// release gives back what allocate returned. Nothing may point into it any more.
func release(mapped ...[]byte) {
	for _, b := range mapped {
		_ = syscall.Munmap(b)
	}
}
