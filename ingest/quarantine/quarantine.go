// Package quarantine writes and reads usage.dlq.v1: events that could not be metered, with the reason.
//
// A quarantined record is the original one (key, value, headers) plus headers that say why and where it came from. A crash
// may write it twice; its source coordinates (topic id, partition, offset) say that it is the same. Of a record over 512
// KiB only the beginning is kept, with its length and SHA-256, so that the copy always fits.
package quarantine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that quarantine adds. Those of the original record with the same names are dropped.
const (
	headerReason    = "reason"
	headerDetail    = "detail"
	headerAccount   = "account" // the key, where it could be read
	headerIdentity  = "identity"
	headerTopic     = "src_topic"
	headerTopicID   = "src_topic_id"
	headerPartition = "src_partition"
	headerOffset    = "src_offset"
	headerTime      = "src_timestamp" // of the record, Unix ms
	headerLength    = "original_length"
	headerSHA256    = "original_sha256"
)

const (
	valueMax  = 512 << 10
	headerMax = 1 << 10 // bytes of an original header that are kept
)

// Rejected says why and whence.
type Rejected struct {
	TopicID  string
	Reason   events.Reason
	Detail   string
	Account  string // key; empty if it could not be read
	Identity [16]byte
}

// Record is rec as it is quarantined.
func Record(rec *kgo.Record, r Rejected) *kgo.Record {
	out := &kgo.Record{Topic: topics.Quarantine, Partition: 0, Key: clip(rec.Key), Value: rec.Value}
	add := func(key, value string) {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	for _, h := range rec.Headers {
		if !ours(h.Key) && len(h.Key) <= headerMax && len(out.Headers) < 100 {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: clip(h.Value)})
		}
	}
	if len(rec.Value) > valueMax {
		sum := sha256.Sum256(rec.Value)
		out.Value = rec.Value[:valueMax]
		add(headerLength, strconv.Itoa(len(rec.Value)))
		add(headerSHA256, hex.EncodeToString(sum[:]))
	}
	add(headerReason, r.Reason.String())
	add(headerDetail, r.Detail)
	if r.Account != "" {
		add(headerAccount, string(clip([]byte(r.Account))))
	}
	if r.Identity != ([16]byte{}) {
		add(headerIdentity, hex.EncodeToString(r.Identity[:]))
	}
	add(headerTopic, rec.Topic)
	add(headerTopicID, r.TopicID)
	add(headerPartition, strconv.Itoa(int(rec.Partition)))
	add(headerOffset, strconv.FormatInt(rec.Offset, 10))
	add(headerTime, strconv.FormatInt(rec.Timestamp.UnixMilli(), 10))
	return out
}

func clip(b []byte) []byte { return b[:min(len(b), headerMax)] }

func ours(key string) bool {
	switch key {
	case headerReason, headerDetail, headerAccount, headerIdentity, headerTopic, headerTopicID, headerPartition, headerOffset, headerTime, headerLength, headerSHA256:
		return true
	}
	return false
}

// Source is where a quarantined event stood.
type Source struct {
	Topic, TopicID string
	Partition      int32
	Offset         int64
}

// Item is a quarantined event.
type Item struct {
	Offset    int64 // in the quarantine
	At        time.Time
	Reason    events.Reason
	Detail    string
	Account   string
	Identity  [16]byte
	Source    Source
	Truncated bool
	Record    *kgo.Record // the original one: key, value and headers as they were
}

// Item reads a quarantined record.
func read(rec *kgo.Record) (it Item) {
	it = Item{Offset: rec.Offset, At: rec.Timestamp, Record: &kgo.Record{Key: rec.Key, Value: rec.Value}}
	for _, h := range rec.Headers {
		v := string(h.Value)
		switch h.Key {
		case headerReason:
			it.Reason, _ = events.ParseReason(v)
		case headerDetail:
			it.Detail = v
		case headerAccount:
			it.Account = v
		case headerIdentity:
			if whole, err := hex.DecodeString(v); err == nil && len(whole) == len(it.Identity) {
				copy(it.Identity[:], whole)
			}
		case headerTopic:
			it.Source.Topic = v
		case headerTopicID:
			it.Source.TopicID = v
		case headerPartition:
			n, _ := strconv.ParseInt(v, 10, 32)
			it.Source.Partition = int32(n)
		case headerOffset:
			it.Source.Offset, _ = strconv.ParseInt(v, 10, 64)
		case headerLength:
			it.Truncated = true
		case headerTime, headerSHA256:
		default:
			it.Record.Headers = append(it.Record.Headers, h)
		}
	}
	it.Record.Topic = it.Source.Topic
	return it
}

// Each calls f for every event that is quarantined now, oldest first, each once however often it was written.
func Each(ctx context.Context, opts []kgo.Opt, f func(Item) error) error {
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ConsumeTopics(topics.Quarantine), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics.Quarantine)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", topics.Quarantine, err)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topics.Quarantine)
	if err != nil {
		return fmt.Errorf("look at %s: %w", topics.Quarantine, err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, ok := starts.Lookup(o.Topic, o.Partition); ok && o.Offset > start.Offset {
			left[o.Partition] = o.Offset
		}
	})
	seen := map[Source]bool{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if end := left[rec.Partition]; rec.Offset+1 >= end {
				delete(left, rec.Partition)
				if rec.Offset >= end {
					return
				}
			}
			it := read(rec)
			again := it.Source.TopicID != "" && seen[it.Source] // without coordinates it never stood in Kafka, and is written once
			seen[it.Source] = true
			if !again && err == nil {
				err = f(it)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
