package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Group is the consumer group; its offsets are advisory, for lag dashboards.
const Group = "cockpit-metering"

// What one fetch brings, as it is on the wire: unpacked and as records it is ten to twenty times that, and beside what is
// queued one fetch more waits in the client. Memory under a backlog is mostly these two.
const (
	fetchMax          = 4 << 20
	fetchPartitionMax = 1 << 20
)

// Config is what a service needs. All fields without a default are required.
type Config struct {
	Kafka     []kgo.Opt // seed brokers, TLS, SASL
	Topics    []string  // usage.v1 and guardrail.v1
	Journal   journal.Store
	Replays   Replays
	Directory Directory
	Hasher    *identity.Hasher
	Log       *slog.Logger
	Stats     *Stats
	Address   string // where this process serves, with its host: its name in the group; empty: it has none

	BatchEventsMax  int           // default 16,384
	QueueEventsMax  int           // a partition's fetching pauses above it; default 2 batches
	WindowSpan      time.Duration // how late an event may be; default 24 h
	TooEarly        time.Duration // how far ahead of its record's timestamp an event may be; default 10 min
	WindowEventsMax int           // identities a partition's window may hold; default 50 million
	Scratch         string        // directory for the window's past hours; default: the system's for temporary files
	Retry           time.Duration // pause between tries against a store that is away; default 250 ms
}

// Directory gives the snapshot that events are resolved with.
type Directory interface {
	Current() *directory.Snapshot
}

// Replays says which identities an operator has authorized to be charged although they are late.
type Replays interface {
	// Authorized sets true for each of the identities that has been.
	Authorized(ctx context.Context, identities map[[16]byte]bool) error
}

func (c *Config) defaults() {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.BatchEventsMax == 0 {
		c.BatchEventsMax = 1 << 14
	}
	if c.QueueEventsMax == 0 {
		c.QueueEventsMax = 2 * c.BatchEventsMax
	}
	if c.WindowEventsMax == 0 {
		c.WindowEventsMax = 50_000_000
	}
	def(&c.WindowSpan, 24*time.Hour)
	def(&c.TooEarly, 10*time.Minute)
	def(&c.Retry, 250*time.Millisecond)
}

// Service is the consumer. Make it with New.
type Service struct {
	cfg      Config
	client   *kgo.Client // consumes
	producer *kgo.Client // publishes quarantine and moves, to the partitions that we name
	admin    *kadm.Client
	cluster  string
	seeks    chan seek

	mu       sync.Mutex
	workers  map[topicPartition]*partition
	stopping bool // no worker begins any more
	wg       sync.WaitGroup
}

type topicPartition struct {
	topic     string
	partition int32
}

// seek asks the polling goroutine to fetch a partition from another position on.
type seek struct {
	p    *partition
	to   int64
	done chan struct{}
}

// New returns a service; it connects in Run.
func New(cfg Config) *Service {
	cfg.defaults()
	return &Service{cfg: cfg, workers: map[topicPartition]*partition{}, seeks: make(chan seek)}
}

// Run consumes until ctx ends, and returns when every worker has finished its batch.
func (s *Service) Run(ctx context.Context) error {
	var err error
	if s.producer, err = kgo.NewClient(append(s.cfg.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMaxAge(15*time.Second),       // or moves to a partition that is new would wait for five minutes
		kgo.AllowIdempotentProduceCancellation(), // a worker that is to stop while Kafka is away stops; what was sent is recognized when it is sent again
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()), kgo.ProducerBatchMaxBytes(2<<20))...); err != nil {
		return fmt.Errorf("Kafka producer: %w", err)
	}
	defer s.producer.Close()
	s.admin = kadm.NewClient(s.producer)
	if err := s.retry(ctx, "read the cluster's id", s.learnCluster); err != nil {
		return nil // only when ctx ended
	}
	if s.cfg.Address != "" {
		if err := s.buryFormer(ctx); err != nil {
			s.cfg.Log.Warn("the partitions that this process had wait for its session to time out", "error", err)
		}
	}
	// Rebalances wait while polled records are handed out (BlockRebalanceOnPoll), so that what was polled before a partition
	// was given away never reaches the worker that has it after.
	s.client, err = kgo.NewClient(append(s.cfg.Kafka, kgo.ConsumerGroup(Group), kgo.ConsumeTopics(s.cfg.Topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.MaxDecompressBatchBytes(64<<20), kgo.FetchMaxBytes(fetchMax), kgo.FetchMaxPartitionBytes(fetchPartitionMax), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ClientID(s.clientID()), kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(sessionTimeout/4), kgo.BlockRebalanceOnPoll(), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second), kgo.MetadataMaxAge(15*time.Second),
		kgo.AdjustFetchOffsetsFn(s.assign), kgo.OnPartitionsRevoked(s.revoke), kgo.OnPartitionsLost(s.revoke))...)
	if err != nil {
		return fmt.Errorf("Kafka consumer: %w", err)
	}
	paced, stop := context.WithCancel(ctx)
	var pacing sync.WaitGroup
	pacing.Go(func() { paceCollections(paced) })
	s.poll(ctx)
	s.stopAll()
	s.wg.Wait()
	stop()
	pacing.Wait()
	s.client.CloseAllowingRebalance()
	return nil
}

func (s *Service) learnCluster(ctx context.Context) error {
	m, err := s.admin.BrokerMetadata(ctx)
	s.cluster = m.Cluster
	return err
}

// retry calls f until it succeeds, and returns an error only when ctx has ended.
func (s *Service) retry(ctx context.Context, what string, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.cfg.Log.Warn("retrying", "what", what, "error", err)
		s.cfg.Stats.retries.Add(1)
		if sleep(ctx, s.cfg.Retry) != nil {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll hands out what is fetched. It alone polls and seeks.
func (s *Service) poll(ctx context.Context) {
	for ctx.Err() == nil {
		s.doSeeks()
		pollCtx, cancel := context.WithTimeout(ctx, 50*time.Millisecond) // so that seeks do not wait for records
		fetches := s.client.PollRecords(pollCtx, 0)
		cancel()
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			p := s.worker(f.Topic, f.Partition)
			if p == nil {
				return
			}
			if len(f.Records) > 0 {
				p.enqueue(f.Records, f.HighWatermark)
			}
			if f.Err != nil && !errors.Is(f.Err, context.DeadlineExceeded) && !errors.Is(f.Err, context.Canceled) {
				p.fail(f.Err)
			}
		})
		s.client.AllowRebalance()
	}
}

func (s *Service) doSeeks() {
	for {
		select {
		case k := <-s.seeks:
			tp := k.p.tp
			if s.worker(tp.topic, tp.partition) == k.p {
				k.p.queue.clear()
				s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{tp.topic: {tp.partition: {Epoch: -1, Offset: k.to}}})
				s.client.ResumeFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
			}
			close(k.done)
		default:
			return
		}
	}
}

func (s *Service) worker(topic string, partition int32) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[topicPartition{topic, partition}]
}

// assign answers with the positions that Postgres has. It must not fail: an error here loses all of the member's partitions.
func (s *Service) assign(ctx context.Context, in map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for topic, partitions := range in {
		var leases map[int32]journal.Lease
		err := s.retry(ctx, "take "+topic, func(ctx context.Context) (err error) {
			leases, err = s.take(ctx, topic, partitions)
			return err
		})
		if err != nil {
			return nil, err // the client is closing
		}
		for id, l := range leases {
			partitions[id] = kgo.NewOffset().At(l.Next)
			s.start(topicPartition{topic, id}, l)
		}
	}
	return in, nil
}

func (s *Service) start(tp topicPartition, l journal.Lease) {
	ctx, cancel := context.WithCancel(context.Background())
	p := newPartition(s, tp, l, cancel)
	s.mu.Lock()
	if s.stopping { // a rebalance that was under way
		s.mu.Unlock()
		cancel()
		return
	}
	old := s.workers[tp]
	s.workers[tp] = p
	s.wg.Add(1)
	s.mu.Unlock()
	if old != nil {
		old.stop()
	}
	go func() {
		defer s.wg.Done()
		p.run(ctx)
	}()
}

func (s *Service) revoke(_ context.Context, client *kgo.Client, gone map[string][]int32) {
	defer client.ResumeFetchPartitions(gone) // the client remembers a pause: it would hold when the partition comes back
	for topic, partitions := range gone {
		for _, id := range partitions {
			s.mu.Lock()
			p := s.workers[topicPartition{topic, id}]
			delete(s.workers, topicPartition{topic, id})
			s.mu.Unlock()
			if p != nil {
				p.stop()
			}
		}
	}
}

func (s *Service) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for tp, p := range s.workers {
		p.cancel()
		delete(s.workers, tp)
	}
}
