package events

import _ "embed"

// UsageSchema is the JSON Schema (draft 2020-12) of a usage event in structured mode; its data alone is at #data.
//
//go:embed usage.v1.schema.json
var UsageSchema []byte

// GuardrailSchema is the JSON Schema of a guardrail event, in the same form.
//
//go:embed guardrail.v1.schema.json
var GuardrailSchema []byte
