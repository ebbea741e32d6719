package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
)

// Stats counts what a service did since it began. It is safe for concurrent use; the zero value is ready.
type Stats struct {
	Charged, Duplicate, Observed, Quarantined, Moved atomic.Int64
	Batches                                          atomic.Int64
	retries, restarts, refused, paused, full         atomic.Int64

	mu      sync.Mutex
	lags    map[topicPartition]int64
	latency [latencyBuckets]int64 // of the interval since the last LatencyP99, by power of 2 in ms
}

// latencyBuckets covers 1 ms to 17 min by factors of 2^(1/4).
const latencyBuckets = 81

func (s *Stats) lag(tp topicPartition, records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lags == nil {
		s.lags = map[topicPartition]int64{}
	}
	s.lags[tp] = records
}

// Lag is the number of records that were in Kafka and not polled when each partition was last polled.
func (s *Stats) Lag() (records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.lags {
		records += n
	}
	return records
}

// Retries, Restarts, Refused and Paused count tries against stores that were away, workers that started over, of those the
// ones whose batch was refused because another had taken the log, and partitions that wait for an operator now.
func (s *Stats) Retries() int64  { return s.retries.Load() }
func (s *Stats) Restarts() int64 { return s.restarts.Load() }
func (s *Stats) Refused() int64  { return s.refused.Load() }
func (s *Stats) Paused() int64   { return s.paused.Load() }

// Full counts the partitions that stand still now because their dedupe window holds as many identities as it may.
func (s *Stats) Full() int64 { return s.full.Load() }

func (s *Stats) committed(row *journal.Row, oldest time.Time) {
	s.Charged.Add(int64(row.Counts.Charged))
	s.Duplicate.Add(int64(row.Counts.Duplicate))
	s.Observed.Add(int64(row.Counts.Observed))
	s.Quarantined.Add(int64(row.Counts.Quarantined))
	s.Moved.Add(int64(row.Counts.Moved))
	s.Batches.Add(1)
	waited := time.Since(oldest)
	s.mu.Lock()
	s.latency[latencyBucket(waited)]++
	s.mu.Unlock()
}

// latencyBucket numbers the quarter-powers of two of a duration in milliseconds.
func latencyBucket(d time.Duration) int {
	bucket, bound := 0, time.Millisecond
	for bucket < latencyBuckets-1 && d > bound {
		bucket++
		bound += bound * 19 / 100
	}
	return bucket
}

// LatencyP99 is, of the batches since the last call, the time from the arrival of their oldest event in Kafka to the commit
// that made it part of the live balances: 99 % were not slower, to 19 %. Zero without batches.
func (s *Stats) LatencyP99() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total, seen int64
	for _, n := range s.latency {
		total += n
	}
	counts := s.latency
	s.latency = [latencyBuckets]int64{}
	bound := time.Millisecond
	for _, n := range counts {
		seen += n
		if total > 0 && seen*100 >= total*99 {
			return bound
		}
		bound += bound * 19 / 100
	}
	return 0
}
