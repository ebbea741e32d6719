package litellm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/alchemi/cockpit/schemas/events"
)

const idMax = 128 // bytes

// convert maps a payload to a structured CloudEvent. Whether its keys exist, and are as the schema says, is for who takes it.
func convert(p map[string]any, b Binding) ([]byte, *Error) {
	id := identity(p)
	if id == "" {
		return nil, &Error{events.Schema, "neither id nor litellm_call_id"}
	}
	at, ok := when(p["endTime"])
	if !ok {
		return nil, &Error{events.Schema, "endTime is no time"}
	}
	failed := text(p["status"]) == "failure"
	usd, nothing, bad := cost(p, failed)
	if bad != nil {
		return nil, bad
	}
	meta := object(p, "metadata")
	data := map[string]any{
		"account": first(text(meta["user_api_key_org_id"]), b.Account),
		"section": b.Section,
		"model":   first(text(p["model_group"]), text(p["model"])),
		"status":  "ok", "quantities": quantities(p, nothing),
	}
	if failed {
		data["status"] = "error"
	}
	for name, v := range map[string]string{
		"user":     first(text(meta["user_api_key_user_id"]), text(p["end_user"]), text(meta["user_api_key_end_user_id"])),
		"team":     text(meta["user_api_key_team_id"]),
		"trace_id": text(p["trace_id"]), "operation": text(p["call_type"]), "cost_usd": usd,
	} {
		if v != "" {
			data[name] = v
		}
	}
	if begin, ok := when(p["startTime"]); ok && !begin.After(at) {
		data["latency_ms"] = at.Sub(begin).Milliseconds()
	}
	event, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": b.Source, "type": events.TypeUsage,
		"time": at.Format("2006-01-02T15:04:05.000000Z"), "data": data})
	if err != nil {
		return nil, &Error{events.Schema, err.Error()}
	}
	return event, nil
}

// identity is the response's id and the call's, since each alone repeats: a cached response has its first one's id.
func identity(p map[string]any) string {
	id := text(p["id"])
	if call := text(p["litellm_call_id"]); call != "" && call != id {
		id += "/" + call
	}
	if len(id) > idMax {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	return id
}

// quantities takes the tokens apart. A failure that cost nothing is one request and no tokens.
func quantities(p map[string]any, nothing bool) map[string]int64 {
	q := map[string]int64{events.Requests.String(): 1}
	if nothing {
		return q
	}
	usage := object(object(p, "metadata"), "usage_object")
	in, out := object(usage, "prompt_tokens_details"), object(usage, "completion_tokens_details")
	prompt, completion := given(p, usage, "prompt_tokens"), given(p, usage, "completion_tokens")
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

// given is a count of the payload, or of its usage object where the payload has none.
func given(p, usage map[string]any, name string) int64 {
	if v, ok := p[name]; ok {
		return count(v)
	}
	return count(usage[name])
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
