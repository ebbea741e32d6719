// Package decode reads usage and guardrail events out of Kafka records: CloudEvents 1.0 in structured or binary mode, with
// data as JSON or protobuf (contracts.md, Events).
//
// Whatever the bytes are, the answer is an event or a Rejection with its reason and a detail that a person can act on:
// malformed (no CloudEvent could be read), schema (a field is missing or wrong) or too_large. What is rejected for its
// schema still carries the account, source and id that could be read, so that quarantine can be counted by account.
// Nothing is guessed: a field given twice, invalid UTF-8, a lone surrogate, an integer written as 1e3 are refused. Unknown
// fields are not an error.
//
// Decoding the usual event allocates nothing: strings alias the record, or the decoder's own buffer where they were
// escaped, and are valid until its next call. The scanner is our own because this is the hottest loop of the program and
// because libraries that are as fast neither find repeated keys nor invalid UTF-8.
//
// Map: scan.go (JSON), split.go (arrays of events), record.go (modes), fields.go (typed fields, the envelope), usage.go, guardrail.go, time.go, proto.go.
package decode
