// Package journey tests the path of an event from end to end: Kafka, metering, journal, fold and balances, on the real
// stores, wired as the program wires them. It owns no code of the product.
package journey
