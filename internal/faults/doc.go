// Package faults breaks the real program, over the real engines, and asks afterwards whether the books are right.
//
// A Case is a row of the fault matrix, or a part of one. A run of it is a World of its own: Postgres, Kafka and ClickHouse as
// processes, `cockpit serve` as several, all built with the tag faults, with traffic of which every accepted event is
// remembered. The case breaks something and lets it heal; then the world must settle by itself, every accepted identity
// be charged exactly once, and `cockpit verify` be green.
//
// Invariants of a run: it must show that its fault fired (World.Fired), or it counts as failed; everything that is random in
// it comes from its seed, which it prints, but for the machine's own scheduling. Times are measured and printed, and only
// bounded where the matrix demands it, generously.
//
// It is for Linux, the only system that has all three engines, signals for a child whose parent dies, and small disks.
//
// Processes die with the process that runs the world. A world that failed keeps its directory, and says where.
//
// Map: case.go (the list, and a run), world.go and store.go (the stores), process.go (the program), root.go, traffic.go, settle.go,
// matrix_*.go (the cases); the command is in soak.
package faults
