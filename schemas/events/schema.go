package events

import _ "embed" // for the schemas

// UsageSchema is the JSON Schema (2020-12) of a usage event in structured mode.
//
//go:embed usage.v1.schema.json
var UsageSchema []byte

// GuardrailSchema is the JSON Schema (2020-12) of a guardrail event in structured mode.
//
//go:embed guardrail.v1.schema.json
var GuardrailSchema []byte

// Protobuf is the protobuf description of both events' data, for binary mode.
//
//go:embed events.proto
var Protobuf []byte
