// Package schedules tests metering in virtual time: the real worker.Service against a broker (kfake) and the journal's
// model, all in one bubble of testing/synctest, through hundreds of made-up histories of faults in seconds.
//
// A schedule is a list of steps, each at its own instant, and a function of a seed: events that come once, again, late,
// early, astray, in transactions that are aborted; workers that join, leave, are killed at a point of their work, or stop
// and go on after others took over; a journal that is slow, away, or does not say what became of a commit; topics that grow.
// A worker reaches Kafka and the journal only through wires that the schedule can cut or freeze (process_test.go), so a
// killed worker loses whatever it had in memory and can do nothing more.
//
// At the end everything heals and drains, and a naive model says what must be in the journal (naive_test.go). It reads the
// topics back with a client of its own and shares no code with the path but the decoder of journal bodies and the adder.
//
// Which schedule a seed means never changes between runs; what happens in one nearly doesn't, because every wire has a
// latency made from the seed, so that virtual time and not the Go scheduler orders what happens. Nearly: among what falls on one
// instant, select and map order are the runtime's. A schedule that fails is therefore tried again while it is made shorter.
//
// It has no code but tests. Map: schedule_test.go (steps, seeds), world_test.go (what they are done to), process_test.go,
// store_test.go (wires), naive_test.go and check_test.go (what must hold), shrink_test.go, scenarios_test.go (histories
// that each once went wrong somewhere), properties_test.go (decisions against a naive model, without Kafka).
package schedules
