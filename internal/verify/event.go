package verify

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/schemas/events/eventspb"
	"github.com/dchest/siphash"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
)

// event is what is checked of a usage or guardrail event.
type event struct {
	ID, Source, Time string
	Data             eventData
}

type eventData struct {
	Account, Section, User, Team, Model string
	Quantities                          map[string]int64
	CostUSD                             string `json:"cost_usd"`
}

// readEvent reads an event in structured or binary mode. exactly: by names as they are written; encoding/json takes them
// in any case otherwise, which is four times as fast and wrong only for events that have, say, both account and Account.
func readEvent(rec *kgo.Record, exactly bool) (*event, error) {
	e := &event{}
	binaryMode, media := false, ""
	for _, h := range rec.Headers {
		switch {
		case strings.EqualFold(h.Key, "content-type"):
			media, _, _ = strings.Cut(string(h.Value), ";")
		case strings.HasPrefix(h.Key, "ce_"):
			binaryMode = true
			switch h.Key {
			case "ce_id":
				e.ID = string(h.Value)
			case "ce_source":
				e.Source = string(h.Value)
			case "ce_time":
				e.Time = string(h.Value)
			}
		}
	}
	switch media = strings.TrimSpace(media); {
	case !binaryMode || media == "application/cloudevents+json":
		*e = event{}
		if exactly {
			return e, e.exactly(rec.Value)
		}
		return e, json.Unmarshal(rec.Value, e)
	case media == "application/protobuf" || media == "application/x-protobuf":
		return e, e.protobuf(rec)
	case exactly:
		return e, e.Data.exactly(rec.Value)
	default:
		return e, json.Unmarshal(rec.Value, &e.Data)
	}
}

// fields reads the named members of an object; those that are not there or null are left as they are.
func fields(data []byte, into map[string]any) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	for name, v := range into {
		if raw, ok := all[name]; ok {
			if err := json.Unmarshal(raw, v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (e *event) exactly(data []byte) error {
	var inner json.RawMessage
	if err := fields(data, map[string]any{"id": &e.ID, "source": &e.Source, "time": &e.Time, "data": &inner}); err != nil {
		return err
	}
	return e.Data.exactly(inner)
}

func (d *eventData) exactly(data []byte) error {
	return fields(data, map[string]any{"account": &d.Account, "section": &d.Section, "user": &d.User, "team": &d.Team, "model": &d.Model,
		"quantities": &d.Quantities, "cost_usd": &d.CostUSD})
}

func (e *event) protobuf(rec *kgo.Record) error {
	if rec.Topic == guardrailTopic {
		var m eventspb.GuardrailData
		err := proto.Unmarshal(rec.Value, &m)
		e.Data = eventData{Account: m.Account, Section: m.Section, User: m.User, Team: m.Team, Model: m.Model}
		return err
	}
	var m eventspb.UsageData
	err := proto.Unmarshal(rec.Value, &m)
	e.Data = eventData{Account: m.Account, Section: m.Section, User: m.User, Team: m.Team, Model: m.Model, Quantities: m.Quantities, CostUSD: m.CostUsd}
	return err
}

// micros is the event's own time in Unix µs.
func (e *event) micros() (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(e.Time))
	return t.UnixMicro(), err
}

// identities makes the keyed hashes of identities.
type identities struct {
	k0, k1 uint64
	buf    []byte
}

func newIdentities(secret []byte) (*identities, error) {
	if len(secret) != 16 {
		return nil, errors.New("the deployment's identity secret has not 16 bytes")
	}
	return &identities{k0: binary.LittleEndian.Uint64(secret), k1: binary.LittleEndian.Uint64(secret[8:])}, nil
}

// of is SipHash-128 over account, source and id, each behind its length as a little-endian uint32.
func (h *identities) of(e *event) (id [16]byte) {
	h.buf = h.buf[:0]
	for _, s := range [...]string{e.Data.Account, e.Source, e.ID} {
		h.buf = binary.LittleEndian.AppendUint32(h.buf, uint32(len(s)))
		h.buf = append(h.buf, s...)
	}
	lo, hi := siphash.Hash128(h.k0, h.k1, h.buf)
	binary.LittleEndian.PutUint64(id[:8], lo)
	binary.LittleEndian.PutUint64(id[8:], hi)
	return id
}
