// Package litellm maps what LiteLLM's generic_api callback sends (StandardLoggingPayload) to usage events, purely.
//
// It reads defensively: fields that its documentation shows are not always there, numbers may be floats with exponents,
// ids may be long. Money is taken from the number's text, exactly, and rounded half to even to 12 decimals. prompt_tokens
// contain the cached ones and completion_tokens the reasoning ones: they are taken apart, since each has its own price.
// A cost that LiteLLM could not work out is left out, not zero: a model without a price must not be free.
//
// Only the fields that are named in pick.go are ever decoded: messages, responses, headers of requesters, hashes of keys
// and addresses can reach neither an event nor what is kept of an item that can't be mapped.
//
// A body is read item by item and never held whole. LiteLLM does not send again, so every item gives an event or an Error,
// and a broken or too large one does not stop those behind it, as far as the text can be followed.
//
// Map: read.go (items, limits), frame.go (where an item ends), pick.go (fields), convert.go (the event), number.go.
package litellm
