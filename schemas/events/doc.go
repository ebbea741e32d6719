// Package events holds the shapes of what products emit: usage and guardrail events, their JSON Schemas and protobuf, and
// the closed sets of words that go with them (quantities, reasons for quarantine, flags). It has no I/O and decides nothing.
//
// Strings of a decoded event may alias the bytes of the record that it was read from; they are valid as long as those are.
package events
