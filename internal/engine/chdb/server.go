package chdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	connections = 4
	queryMax    = 16 << 20
)

// Serve opens the data directory with the library at lib and serves it on listen until ctx ends. ready is called with the
// address once it answers.
func Serve(ctx context.Context, lib, dataDir, listen string, ready func(address string)) error {
	l, err := open(lib)
	if err != nil {
		return err
	}
	s := &server{free: make(chan *conn, connections)}
	for range connections {
		c, err := l.dial(dataDir)
		if err != nil {
			return err
		}
		s.free <- c
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	h := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = h.Shutdown(ctx)
	}()
	ready(listener.Addr().String())
	if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	for range connections {
		(<-s.free).close()
	}
	return nil
}

type server struct {
	free chan *conn // connections that run nothing
}

// request is one query as the HTTP interface gives it.
type request struct {
	query    []byte
	format   string
	revision uint64
	database string
	settings []string // names, sorted
	values   url.Values
	data     *os.File // of an insert; nil: none
	whole    bool     // the result is answered when all of it is there, with a summary
}

// notSettings are the parameters that are no settings of the query.
var notSettings = map[string]bool{"query": true, "database": true, "default_format": true, "client_protocol_version": true, "query_id": true, "session_id": true,
	"user": true, "password": true, "wait_end_of_query": true, "role": true, "quota_key": true, "send_progress_in_http_headers": true, "buffer_size": true}

func parse(r *http.Request) (*request, error) {
	values := r.URL.Query()
	q := &request{values: values, format: values.Get("default_format"), database: values.Get("database"), whole: values.Get("wait_end_of_query") == "1"}
	if q.format == "" {
		q.format = "TabSeparated"
	}
	if values.Get("compress") == "1" || values.Get("decompress") == "1" || r.Header.Get("Content-Encoding") != "" {
		return nil, errors.New("the embedded ClickHouse does not read or write compressed bodies")
	}
	var err error
	if v := values.Get("client_protocol_version"); v != "" {
		if q.revision, err = strconv.ParseUint(v, 10, 32); err != nil {
			return nil, fmt.Errorf("client_protocol_version: %w", err)
		}
	}
	for name := range values {
		if !notSettings[name] && name != "compress" && name != "decompress" {
			if !identifier.MatchString(name) {
				return nil, fmt.Errorf("%q is no setting", name)
			}
			q.settings = append(q.settings, name)
		}
	}
	sort.Strings(q.settings)
	text := strings.TrimSpace(values.Get("query"))
	if m := insertFormat.FindStringSubmatch(text); m != nil {
		// libchdb reads the data of an insert from a file; what stands behind a query it does not read as it is.
		if q.data, err = spool(r.Body); err == nil {
			q.query = fmt.Appendf(nil, "%s FROM INFILE '/proc/self/fd/%d' %s", m[1], q.data.Fd(), m[2])
		}
		return q, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, queryMax))
	if err != nil {
		return nil, err
	}
	q.query = append([]byte(text), body...)
	if len(q.query) == 0 {
		return nil, errors.New("there is no query")
	}
	return q, nil
}

// spool writes the data of an insert to a file without a name, so that nothing of it stays when this process is killed.
func spool(data io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "cockpit-insert-")
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, data)
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var (
	identifier   = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	streams      = regexp.MustCompile(`(?is)^[\s(]*(SELECT|WITH)\b`)
	ownFormat    = regexp.MustCompile(`(?is)\bFORMAT\s+(\w+)\s*;?\s*$`)
	insertFormat = regexp.MustCompile(`(?is)^(INSERT\s+INTO\s.*?)\s+(FORMAT\s+\w+)\s*;?$`)
	code         = regexp.MustCompile(`Code: (\d+)\.`)
)

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		fmt.Fprintln(w, "Ok.")
		return
	}
	q, err := parse(r)
	if q != nil && q.data != nil {
		defer q.data.Close()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var c *conn
	select {
	case c = <-s.free:
	case <-r.Context().Done():
		return
	}
	defer func() { s.free <- c }()
	if err := c.prepare(q); err != nil {
		fail(w, err)
		return
	}
	defer c.restore(q)
	w.Header().Set("X-ClickHouse-Timezone", "UTC")
	s.answer(w, c, q)
}

// prepare makes the request's database and settings those of the connection.
func (c *conn) prepare(q *request) error {
	if q.database != "" {
		if _, err := c.exec([]byte("USE `"+strings.ReplaceAll(q.database, "`", "``")+"`"), "Null"); err != nil {
			return err
		}
	}
	for _, name := range q.settings {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(q.values.Get(name))
		if _, err := c.exec([]byte("SET "+name+" = '"+value+"'"), "Null"); err != nil {
			return err
		}
	}
	return nil
}

// restore takes the request's settings back.
func (c *conn) restore(q *request) {
	for _, name := range q.settings {
		_, _ = c.exec([]byte("SET "+name+" = DEFAULT"), "Null")
	}
}

// answer runs the query and answers with its result, as it comes where libchdb can.
func (s *server) answer(w http.ResponseWriter, c *conn, q *request) {
	format := q.format
	if m := ownFormat.FindSubmatch(q.query); m != nil {
		format = string(m[1])
	}
	begun := false
	var out io.Writer = writerFunc(func(b []byte) (int, error) {
		if !begun {
			w.Header().Set("X-ClickHouse-Format", format)
		}
		begun = true
		return w.Write(b)
	})
	var finish func() error
	if format == "Native" && q.revision > 0 {
		out, finish = transcoder(out, q.revision)
	}
	write := func(part []byte) error { _, err := out.Write(part); return err }
	var err error
	if streams.Match(q.query) && !q.whole {
		err = c.stream(q.query, q.format, write)
	} else {
		var whole []byte
		if whole, err = c.exec(q.query, q.format); err == nil {
			w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","elapsed_ns":"%d"}`, c.last.rows, c.last.bytes, c.last.elapsed))
			if len(whole) > 0 {
				err = write(whole)
			}
		}
	}
	if finish != nil {
		err = errors.Join(err, finish())
	}
	if err != nil && begun {
		panic(http.ErrAbortHandler) // the client must not take what it has for all there is
	}
	if err != nil {
		fail(w, err)
	}
}

// transcoder is a writer of blocks of revision 0 that reach out in another revision; finish waits until all have.
func transcoder(out io.Writer, revision uint64) (io.Writer, func() error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := transcode(out, r, revision)
		r.CloseWithError(err)
		done <- err
	}()
	return w, func() error {
		w.Close()
		return <-done
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func fail(w http.ResponseWriter, err error) {
	if m := code.FindStringSubmatch(err.Error()); m != nil {
		w.Header().Set("X-ClickHouse-Exception-Code", m[1])
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
