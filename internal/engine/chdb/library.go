package chdb

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb's functions (its chdb.h).
type library struct {
	connect     func(argc int32, argv **byte) *unsafe.Pointer
	closeConn   func(conn *unsafe.Pointer)
	query       func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr) unsafe.Pointer
	streamQuery func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr) unsafe.Pointer
	fetch       func(conn, result unsafe.Pointer) unsafe.Pointer
	cancel      func(conn, result unsafe.Pointer)
	destroy     func(result unsafe.Pointer)
	buffer      func(result unsafe.Pointer) *byte
	length      func(result unsafe.Pointer) uintptr
	failure     func(result unsafe.Pointer) *byte
	rowsRead    func(result unsafe.Pointer) uint64
	bytesRead   func(result unsafe.Pointer) uint64
	elapsed     func(result unsafe.Pointer) float64
}

func open(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("load libchdb: %w", err)
	}
	l := &library{}
	for name, f := range map[string]any{"chdb_connect": &l.connect, "chdb_close_conn": &l.closeConn, "chdb_query_n": &l.query,
		"chdb_stream_query_n": &l.streamQuery, "chdb_stream_fetch_result": &l.fetch, "chdb_stream_cancel_query": &l.cancel,
		"chdb_destroy_query_result": &l.destroy, "chdb_result_buffer": &l.buffer, "chdb_result_length": &l.length, "chdb_result_error": &l.failure,
		"chdb_result_storage_rows_read": &l.rowsRead, "chdb_result_storage_bytes_read": &l.bytesRead, "chdb_result_elapsed": &l.elapsed} {
		purego.RegisterLibFunc(f, handle, name)
	}
	// Signals are the Go runtime's.
	var setSignalHandlers func(enabled bool)
	purego.RegisterLibFunc(&setSignalHandlers, handle, "chdb_set_signal_handlers_enabled")
	setSignalHandlers(false)
	return l, nil
}

// conn is a connection: a session of its own. It is not safe for concurrent use.
type conn struct {
	l      *library
	handle *unsafe.Pointer
	last   summary // of the query before
}

// summary is what a query read from tables, and how long it took.
type summary struct {
	rows, bytes uint64
	elapsed     time.Duration
}

func (l *library) dial(dataDir string) (*conn, error) {
	args := [][]byte{[]byte("clickhouse\x00"), []byte("--path=" + dataDir + "\x00")}
	argv := []*byte{&args[0][0], &args[1][0]}
	c := &conn{l: l, handle: l.connect(int32(len(argv)), &argv[0])}
	if c.handle == nil || *c.handle == nil {
		return nil, errors.New("libchdb can't open " + dataDir)
	}
	return c, nil
}

func (c *conn) close() { c.l.closeConn(c.handle) }

// text is a C string's text.
func text(p *byte) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}

// taken copies a result's bytes, or returns its error. The result is then gone.
func (c *conn) taken(result unsafe.Pointer) ([]byte, error) {
	if result == nil {
		return nil, errors.New("libchdb gave no result")
	}
	defer c.l.destroy(result)
	if failure := text(c.l.failure(result)); failure != "" {
		return nil, errors.New(failure)
	}
	c.last = summary{c.l.rowsRead(result), c.l.bytesRead(result), time.Duration(c.l.elapsed(result) * 1e9)}
	n := c.l.length(result)
	if n == 0 {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice(c.l.buffer(result), n)...), nil
}

// exec runs a query and returns the whole result.
func (c *conn) exec(query []byte, format string) ([]byte, error) {
	f := []byte(format)
	return c.taken(c.l.query(*c.handle, &query[0], uintptr(len(query)), &f[0], uintptr(len(f))))
}

// stream runs a query and calls f with each part of its result. An error of f ends it.
func (c *conn) stream(query []byte, format string, f func([]byte) error) error {
	form := []byte(format)
	result := c.l.streamQuery(*c.handle, &query[0], uintptr(len(query)), &form[0], uintptr(len(form)))
	if result == nil {
		return errors.New("libchdb gave no result")
	}
	defer c.l.destroy(result)
	if failure := text(c.l.failure(result)); failure != "" {
		return errors.New(failure)
	}
	for {
		part, err := c.taken(c.l.fetch(*c.handle, result))
		if err != nil || len(part) == 0 {
			return err
		}
		if err := f(part); err != nil {
			c.l.cancel(*c.handle, result)
			return err
		}
	}
}
