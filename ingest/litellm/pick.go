package litellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/alchemi/cockpit/schemas/events"
)

// shape names fields; a field without a shape of its own is a scalar.
type shape map[string]shape

const (
	keptTextMax = 1 << 10 // bytes of a text
	keptMax     = 16 << 10
)

// wanted are the only fields that are read. They say who called what, when, and how much of it; nothing of what was said.
func wanted() shape {
	usage := shape{"prompt_tokens": nil, "completion_tokens": nil, "cache_read_input_tokens": nil, "cache_creation_input_tokens": nil,
		"prompt_tokens_details":     {"cached_tokens": nil, "cache_creation_tokens": nil},
		"completion_tokens_details": {"reasoning_tokens": nil}}
	return shape{"id": nil, "litellm_call_id": nil, "trace_id": nil, "call_type": nil, "status": nil, "model": nil, "model_group": nil,
		"response_cost": nil, "response_cost_failure_debug_info": nil, "startTime": nil, "endTime": nil,
		"prompt_tokens": nil, "completion_tokens": nil, "total_tokens": nil, "end_user": nil,
		"metadata": {"user_api_key_org_id": nil, "user_api_key_team_id": nil, "user_api_key_user_id": nil, "user_api_key_end_user_id": nil,
			"user_api_key_alias": nil, "usage_object": usage}}
}

// pick reads the wanted fields of an item. Of text that is no JSON it returns what stood before that.
func pick(item []byte) (map[string]any, *Error) {
	dec := json.NewDecoder(bytes.NewReader(item))
	dec.UseNumber()
	p, err := pickObject(dec, wanted())
	if err != nil {
		return p, &Error{events.Malformed, "no JSON: " + err.Error()}
	}
	if _, err := dec.Token(); err != io.EOF {
		return p, &Error{events.Malformed, "no JSON: something follows the item"}
	}
	if p == nil {
		return nil, &Error{events.Schema, "the item is no JSON object"}
	}
	return p, nil
}

// pickObject reads one value; nil if it is no object.
func pickObject(dec *json.Decoder, s shape) (map[string]any, error) {
	begin, err := dec.Token()
	if err != nil {
		return nil, unexpected(err)
	}
	if begin != json.Delim('{') {
		return nil, skip(dec, begin)
	}
	p := map[string]any{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return p, unexpected(err)
		}
		inner, known := s[name.(string)]
		switch {
		case inner != nil:
			o, err := pickObject(dec, inner)
			if o != nil {
				p[name.(string)] = o
			}
			if err != nil {
				return p, err
			}
		default:
			v, err := dec.Token()
			if err == nil {
				err = skip(dec, v)
			}
			if err != nil {
				return p, unexpected(err)
			}
			if _, nested := v.(json.Delim); nested {
				v = true // it is there, and what is in it is not looked at
			}
			if known && v != nil {
				p[name.(string)] = v
			}
		}
	}
	_, err = dec.Token()
	return p, unexpected(err)
}

// skip reads to the end of the value that began with this token.
func skip(dec *json.Decoder, begin json.Token) error {
	if _, nested := begin.(json.Delim); !nested {
		return nil
	}
	for depth := 1; depth > 0; {
		t, err := dec.Token()
		if err != nil {
			return unexpected(err)
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// keep is a payload's wanted fields with long texts cut.
func keep(p map[string]any) []byte {
	cut(p)
	kept, err := json.Marshal(p)
	if err != nil || p == nil || len(kept) > keptMax {
		return []byte("{}")
	}
	return kept
}

func cut(p map[string]any) {
	for name, v := range p {
		switch v := v.(type) {
		case map[string]any:
			cut(v)
		case string:
			if len(v) > keptTextMax {
				p[name] = v[:keptTextMax]
			}
		case json.Number:
			if len(v) > keptTextMax {
				delete(p, name)
			}
		}
	}
}
