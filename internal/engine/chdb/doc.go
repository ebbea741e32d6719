// Package chdb serves ClickHouse's HTTP interface from libchdb, ClickHouse as a library, so that clickhouse-go/v2 works with
// it unchanged. It is for trying out, tests and a small single node.
//
// Queries run on a few connections of one engine; each query has a connection to itself, with its settings set before
// and taken back after. Results are streamed, a block at a time. libchdb writes the Native format of revision 0, and
// drivers ask for newer ones (client_protocol_version), so blocks are decoded and encoded again with the driver's own
// code. The data of an insert goes through a temporary file, because libchdb reads it from there in bounded memory.
//
// With wait_end_of_query=1 a result is answered as a whole, and X-ClickHouse-Summary says how much was read for it.
//
// Not there: compression of HTTP bodies, users, external tables. Failures are answered as ClickHouse answers them: status
// 500 (400 for what is asked wrongly), X-ClickHouse-Exception-Code and the text; an error in the middle of a result breaks
// the connection off.
//
// Map: library.go (libchdb through purego), server.go (HTTP), native.go (revisions).
package chdb
