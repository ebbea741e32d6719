package worker

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapTarget is what the heap may grow to before garbage is collected, even where little of it is live: an event leaves a
// kilobyte of garbage in the Kafka client, and collecting costs what is live each time. Where more than half of the target is
// live, the runtime's own pace (GOGC=100) holds, so that memory is bounded as it was.
const heapTarget = 384 << 20

const (
	usualPace = 100 // percent that the heap grows by between collections
	slowest   = 500
	paceEvery = 100 * time.Millisecond
)

// pace is by how many percent a heap with that much live may grow.
func pace(live uint64) int {
	if live == 0 {
		return usualPace
	}
	return int(min(slowest, max(usualPace, (heapTarget-min(heapTarget, live))*100/live)))
}

// paceCollections collects garbage no more often than heapTarget asks for, until ctx ends. Who sets GOGC decides himself.
func paceCollections(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(usualPace))
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := usualPace
	for ctx.Err() == nil {
		metrics.Read(sample)
		if next := pace(sample[0].Value.Uint64()); next != now {
			debug.SetGCPercent(next)
			now = next
		}
		_ = sleep(ctx, paceEvery)
	}
}
