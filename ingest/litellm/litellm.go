// Package litellm maps what LiteLLM's generic_api callback sends (StandardLoggingPayload) to usage events, purely.
//
// It reads defensively: fields that its documentation shows are not always there, numbers may be floats with exponents,
// ids may be long. Money is taken from the number's text, exactly, and rounded half to even to 12 decimals. prompt_tokens
// contain the cached ones and completion_tokens the reasoning ones: they are taken apart, since each has its own price.
// Messages, responses and headers of requesters are never kept, not even of an item that can't be mapped.
//
// Every item gives an event or an error; a broken one does not stop those behind it, as far as the text can be followed.
package litellm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/shopspring/decimal"
)

// Binding is what the service key says and LiteLLM does not.
type Binding struct {
	Source, Section string
	Account         string // used where the payload names no organization
}

// Item is one logged call. Kept is what may be kept of it when it can't be mapped.
type Item struct {
	Event []byte // a structured CloudEvent
	Kept  []byte
	Err   error
}

// Error says why an item can't be mapped.
type Error struct{ Detail string }

// Error implements error.
func (e *Error) Error() string { return e.Detail }

const (
	idMax      = 128
	costPlaces = 12
	numberMax  = 64 // characters of a number
	keptMax    = 16 << 10
)

// Read maps a body in any of the callback's formats: json_array, ndjson or single.
func Read(body []byte, b Binding) []Item {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	array := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	if array {
		_, _ = dec.Token()
	}
	var items []Item
	for !array || dec.More() {
		var p map[string]any
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) && !array {
			break
		}
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			items = append(items, Item{Err: &Error{"the item is no JSON object"}})
			continue
		}
		if err != nil { // what follows can't be found any more
			return append(items, Item{Err: &Error{"no JSON: " + err.Error()}})
		}
		items = append(items, one(p, b))
	}
	return items
}

func one(p map[string]any, b Binding) Item {
	event, err := convert(p, b)
	if err != nil {
		return Item{Err: err, Kept: keep(p)}
	}
	return Item{Event: event}
}

// keep is the part of a payload that names the call and says nothing of its content.
func keep(p map[string]any) []byte {
	safe := map[string]any{}
	for _, name := range []string{"id", "litellm_call_id", "call_type", "status", "model", "model_group", "response_cost", "startTime", "endTime",
		"prompt_tokens", "completion_tokens", "total_tokens", "end_user", "trace_id"} {
		if v, ok := p[name]; ok {
			safe[name] = v
		}
	}
	meta := map[string]any{}
	for name, v := range object(p, "metadata") {
		if strings.HasPrefix(name, "user_api_key_") && !strings.HasSuffix(name, "hash") {
			meta[name] = v
		}
	}
	safe["metadata"] = meta
	text, err := json.Marshal(safe)
	if err != nil || len(text) > keptMax {
		return []byte(`{}`)
	}
	return text
}

func convert(p map[string]any, b Binding) ([]byte, error) {
	meta := object(p, "metadata")
	id := text(p["id"])
	if call := text(p["litellm_call_id"]); call != "" && call != id {
		id += "/" + call
	}
	if id == "" {
		return nil, &Error{"neither id nor litellm_call_id"}
	}
	if len(id) > idMax {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	at, err := when(p["endTime"])
	if err != nil {
		return nil, err
	}
	cost, err := money(p["response_cost"])
	if err != nil {
		return nil, err
	}
	failed := text(p["status"]) == "failure"
	data := map[string]any{
		"account":  first(text(meta["user_api_key_org_id"]), b.Account),
		"section":  b.Section,
		"user":     first(text(meta["user_api_key_user_id"]), text(p["end_user"]), text(meta["user_api_key_end_user_id"])),
		"team":     text(meta["user_api_key_team_id"]),
		"model":    first(text(p["model_group"]), text(p["model"])),
		"trace_id": text(p["trace_id"]), "operation": text(p["call_type"]), "status": status(failed),
		"quantities": quantities(p, meta, failed && cost.IsZero()),
		"cost_usd":   cost.StringFixed(costPlaces),
	}
	if begin, err := when(p["startTime"]); err == nil && !begin.After(at) {
		data["latency_ms"] = at.Sub(begin).Milliseconds()
	}
	event, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": b.Source, "type": events.TypeUsage,
		"time": at.UTC().Format("2006-01-02T15:04:05.000000Z"), "data": data})
	if err != nil {
		return nil, &Error{err.Error()}
	}
	return event, nil
}

func status(failed bool) string {
	if failed {
		return "error"
	}
	return "ok"
}

// quantities takes the tokens apart. A failure that cost nothing is one request and no tokens.
func quantities(p, meta map[string]any, nothing bool) map[string]int64 {
	q := map[string]int64{events.Requests.String(): 1}
	if nothing {
		return q
	}
	usage := object(meta, "usage_object")
	in, out := object(usage, "prompt_tokens_details"), object(usage, "completion_tokens_details")
	prompt, completion := count(p["prompt_tokens"]), count(p["completion_tokens"])
	cached := min(prompt, max(count(in["cached_tokens"]), count(usage["cache_read_input_tokens"])))
	written := min(prompt-cached, max(count(in["cache_creation_tokens"]), count(usage["cache_creation_input_tokens"])))
	reasoning := min(completion, count(out["reasoning_tokens"]))
	for name, n := range map[events.Quantity]int64{events.InputTokens: prompt - cached - written, events.CachedInputTokens: cached,
		events.CacheWriteTokens: written, events.OutputTokens: completion - reasoning, events.ReasoningTokens: reasoning} {
		if n > 0 {
			q[name.String()] = n
		}
	}
	return q
}

func object(m map[string]any, name string) map[string]any {
	o, _ := m[name].(map[string]any)
	return o
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// number is the exact value of a JSON number or of a text that is one.
func number(v any) (decimal.Decimal, bool) {
	t := text(v)
	if t == "" || len(t) > numberMax {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(t)
	if err != nil || d.Exponent() > 20 || d.Exponent() < -60 {
		return decimal.Zero, false
	}
	return d, true
}

// count is a number of tokens; what is none, or below zero, is 0.
func count(v any) int64 {
	d, ok := number(v)
	if !ok || d.Sign() < 0 || !d.Truncate(0).BigInt().IsInt64() {
		return 0
	}
	return d.IntPart()
}

// money is a cost in USD; not given is nothing.
func money(v any) (decimal.Decimal, error) {
	if v == nil {
		return decimal.Zero, nil
	}
	d, ok := number(v)
	if !ok || d.Sign() < 0 {
		return decimal.Zero, &Error{fmt.Sprintf("response_cost %.40q is no amount", text(v))}
	}
	return d.RoundBank(costPlaces), nil
}

// when reads seconds since 1970 with decimals, or an RFC 3339 time.
func when(v any) (time.Time, error) {
	if d, ok := number(v); ok {
		micros := d.Shift(6).Truncate(0).BigInt()
		if micros.IsInt64() {
			return time.UnixMicro(micros.Int64()), nil
		}
	}
	if s, ok := v.(string); ok {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, &Error{"endTime is no time"}
}
