// Package eventspb is the protobuf form of events' data, for producers and tests in Go; events.proto is the contract, and
// other languages generate theirs from it. It has no rules of its own: what the JSON Schemas say of a field holds here too.
// Field numbers are never used again for something else.
package eventspb

//go:generate go -C ../../../internal/tools run ./protoc ../../schemas/events/eventspb/events.proto ../../schemas/events/eventspb
