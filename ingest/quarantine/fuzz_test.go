package quarantine

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What is read of a quarantined record is what was written: the original record, why, and whence.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("acme/web/1"), []byte(`{"specversion":"1.0"}`), "content-type", []byte("application/json"), "7f3a", uint8(2), "account is missing", "acme", []byte("0123456789abcdef"), int32(3), int64(42))
	f.Add([]byte{}, bytes.Repeat([]byte("x"), valueMax+1), headerReason, []byte("schema"), "", uint8(12), "", "", []byte{}, int32(0), int64(0))
	f.Add([]byte(nil), []byte(nil), "ce_id", bytes.Repeat([]byte("y"), headerMax+1), "t", uint8(1), "d", "é", []byte{0}, int32(-1), int64(-1))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, topicID string, reason uint8, detail, account string, identity []byte, partition int32, offset int64) {
		in := Rejected{TopicID: topicID, Reason: events.Reason(reason%12 + 1), Detail: detail, Account: account}
		copy(in.Identity[:], identity)
		rec := &kgo.Record{Topic: "usage.v1", Partition: partition, Offset: offset, Key: key, Value: value, Timestamp: time.UnixMilli(1),
			Headers: []kgo.RecordHeader{{Key: name, Value: header}}}
		written := Record(rec, in)
		it := read(written)
		if it.Reason != in.Reason || it.Detail != detail || it.Identity != in.Identity || it.Source != (Source{"usage.v1", topicID, partition, offset}) ||
			it.Account != string(clip([]byte(account))) || it.Truncated != (len(value) > valueMax) || it.Record.Topic != "usage.v1" {
			t.Fatalf("%+v of %+v", it, in)
		}
		if !bytes.Equal(it.Record.Key, clip(key)) || !bytes.Equal(it.Record.Value, value[:min(len(value), valueMax)]) {
			t.Fatalf("the record is %+v", it.Record)
		}
		kept := !ours(name) && len(name) <= headerMax
		if got := it.Record.Headers; kept && (len(got) != 1 || got[0].Key != name || !bytes.Equal(got[0].Value, clip(header))) || !kept && len(got) != 0 {
			t.Fatalf("headers %v of %q: %q", got, name, header)
		}
		// Quarantined again after a replay, it says why this time, and nothing of the first.
		again := Record(it.Record, Rejected{Reason: events.TooLate, Detail: "again"})
		if second := read(again); second.Reason != events.TooLate || second.Detail != "again" || second.Account != "" || !bytes.Equal(second.Record.Value, it.Record.Value) {
			t.Fatalf("again %+v", second)
		}
	})
}

// Headers that nobody here wrote give no identity but a whole one, since a replay is permitted by it.
func FuzzHeaders(f *testing.F) {
	f.Add(headerIdentity, []byte("000102030405060708090a0b0c0d0e0f"))
	f.Add(headerIdentity, []byte("000102030405060708090a0b0c0d0e0f00"))
	f.Add(headerIdentity, []byte("0001"))
	f.Add(headerPartition, []byte("99999999999"))
	f.Add(headerOffset, []byte("-1x"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		it := read(&kgo.Record{Headers: []kgo.RecordHeader{{Key: name, Value: value}}})
		whole, err := hex.DecodeString(string(value))
		if isWhole := name == headerIdentity && err == nil && len(whole) == 16; isWhole && !bytes.Equal(it.Identity[:], whole) || !isWhole && it.Identity != [16]byte{} {
			t.Fatalf("%s %q: identity %x", name, value, it.Identity)
		}
		if kept := len(it.Record.Headers) == 1; kept == ours(name) {
			t.Fatalf("%s: kept %t", name, kept)
		}
	})
}
