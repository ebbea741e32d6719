// Package collector takes events over HTTP and hands them to Kafka (contracts.md, HTTP ingest).
//
// 202 is answered only when Kafka has acknowledged every event of the request with all replicas; each event has a result
// of its own, so that a bad one does not hold back the others. Events are produced straight to their home partition.
//
// Limits: 5 MiB and 1,000 events a request (64 MiB for LiteLLM, which never sends again), 1 MiB an event. What is in
// flight is bounded: a request that does not fit is answered 429 with Retry-After and nothing of it is taken; while Kafka
// can't be reached, 503. A client that goes away does not take back what was produced; its retry is a duplicate, which
// metering recognizes.
//
// Map: collector.go (routes, answers, limits), accept.go (checks and produces), binary.go, litellm.go.
package collector
