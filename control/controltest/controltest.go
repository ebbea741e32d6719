// Package controltest runs the control API in tests: on a database of its own with the demo in it, over HTTP, as anybody.
//
// Who calls is said with Client.As, in the words of `cockpit token --as`. It is no part of the product.
package controltest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Server is a running API.
type Server struct {
	URL      string
	Owner    *pgxpool.Pool // of the role that owns the tables: sees and may everything
	Stores   api.Stores
	Metering *pgxpool.Pool // of metering's role
	API      *api.API
	Logs     *bytes.Buffer // what it logged; read it when it is done
	Now      func() time.Time
	Audit    *audit.Log

	ClickHouse driver.Conn // nil: none

	t     testing.TB
	clock *clock
}

type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Options change what a server is.
type Options struct {
	RequestsPerSecond int
	Origins           []string
	Database          string // a URL, instead of a database of its own
	ClickHouse        string // a URL, migrated: usage can be read
}

// New starts one, with the demo applied.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	url := o.Database
	if url == "" {
		url = testkit.Database(t)
	}
	owner, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	s := &Server{Owner: owner, t: t, clock: &clock{}, Logs: &bytes.Buffer{},
		Stores: api.Stores{App: testkit.Pool(t, url, postgres.RoleApp), Platform: testkit.Pool(t, url, postgres.RolePlatform)}}
	s.Now = func() time.Time {
		s.clock.mu.Lock()
		defer s.clock.mu.Unlock()
		return time.Now().Add(s.clock.ahead)
	}
	s.Metering = testkit.Pool(t, url, postgres.RoleMetering)
	s.Apply(string(deploy.Demo))
	// Somebody without a role of his own, who has signed in: whom assignments name.
	if _, err := owner.Exec(t.Context(), `INSERT INTO people (issuer, subject, name, email) VALUES ('test', 'grace', 'Grace Hopper', 'grace@acme.example') ON CONFLICT DO NOTHING`); err != nil {
		t.Fatal(err)
	}
	s.Audit = audit.NewLog(bytes.Repeat([]byte{7}, 32))
	if o.ClickHouse != "" {
		s.openClickHouse(o.ClickHouse)
	}
	s.API = control.New(api.Config{Stores: s.Stores, Authenticator: &callers{s}, Audit: s.Audit, Cipher: keys(t), ClickHouse: s.ClickHouse,
		Log: slog.New(slog.NewTextHandler(&locked{w: s.Logs}, nil)), Now: s.Now, Version: "test", RequestsPerSecond: o.RequestsPerSecond, Origins: o.Origins})
	server := httptest.NewServer(s.API.Handler())
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Work runs what no request does, jobs above all, until the test ends or what it returns is called.
func (s *Server) Work() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.API.Run(ctx); err != nil {
			s.t.Errorf("the API's Run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *Server) openClickHouse(url string) {
	s.t.Helper()
	var err error
	if s.ClickHouse, err = clickhouse.Dial(url); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.ClickHouse.Close() })
}

// Apply brings the directory to what a file of cockpit apply says.
func (s *Server) Apply(file string) {
	s.t.Helper()
	f, err := directory.Parse([]byte(file))
	if err == nil {
		_, err = directory.Apply(s.t.Context(), s.Metering, f, directory.Options{Author: "test"})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Advance moves the API's clock.
func (s *Server) Advance(d time.Duration) {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	s.clock.ahead += d
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func keys(t testing.TB) *secrets.Keys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := secrets.Create(file); err != nil {
		t.Fatal(err)
	}
	k, err := secrets.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Response is an answer, read.
type Response struct {
	Status int
	Header http.Header
	Body   []byte

	t testing.TB
}

// Into reads the body into v.
func (r *Response) Into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		r.t.Fatalf("%s: %v", r.Body, err)
	}
}

// Code is that of a problem.
func (r *Response) Code() string {
	var p api.Problem
	_ = json.Unmarshal(r.Body, &p)
	return p.Code
}

// Client calls as somebody.
type Client struct {
	s  *Server
	as string
}

// As is a client that calls as: anonymous, super_admin, account_admin:KEY, account_viewer:KEY, section_admin:KEY/SECTION,
// end_user, product. Another person of the same role is as@NAME.
func (s *Server) As(as string) *Client { return &Client{s, as} }

// Do sends a request. header is pairs of names and values.
func (c *Client) Do(method, path, body string, header ...string) *Response {
	c.s.t.Helper()
	r, err := c.Try(c.s.t.Context(), method, path, body, header...)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return r
}

// Try is Do for callers that can't fail the test, or expect an error.
func (c *Client) Try(ctx context.Context, method, path, body string, header ...string) (*Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.s.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.as != "anonymous" {
		r.Header.Set("Authorization", "Bearer "+c.as)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: text, t: c.s.t}, err
}

// Want is Do, and fails the test at any other status than want.
func (c *Client) Want(status int, method, path, body string, header ...string) *Response {
	c.s.t.Helper()
	r := c.Do(method, path, body, header...)
	if r.Status != status {
		c.s.t.Fatalf("%s %s as %s: %d, want %d: %s", method, path, c.as, r.Status, status, r.Body)
	}
	return r
}

// callers takes the bearer token for who calls. Signing in has tests of its own, with real tokens.
type callers struct{ s *Server }

// Authenticate implements api.Authenticator.
func (a *callers) Authenticate(r *http.Request) (*access.Principal, error) {
	as, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, api.NewProblem(http.StatusUnauthorized, api.CodeUnauthenticated, "Sign in, or send a token.")
	}
	role, rest, _ := strings.Cut(strings.Split(as, "@")[0], ":")
	key, section, _ := strings.Cut(rest, "/")
	p := &access.Principal{Kind: access.Person, Name: as, Issuer: "test", Subject: as}
	pool := a.s.Stores.Platform
	g := access.Grant{Role: access.Role(role)}
	var state string
	err := pool.QueryRow(r.Context(), `WITH p AS (INSERT INTO people (issuer, subject, name) VALUES ('test', $1, $1) ON CONFLICT (issuer, subject) DO UPDATE SET last_seen_at = now(), seen = true RETURNING id, state)
		SELECT p.id, p.state, coalesce((SELECT account_id FROM accounts WHERE key = $2), 0), coalesce((SELECT id FROM sections WHERE key = $3), 0) FROM p`, as, key, section).
		Scan(&p.ID, &state, &g.Account, &g.Section)
	if err != nil {
		return nil, err
	}
	if state != "active" {
		return nil, api.NewProblem(http.StatusUnauthorized, api.CodeUnauthenticated, "This person was shut out.")
	}
	switch g.Role {
	case "end_user":
		return p, nil
	case access.Product:
		p.Kind = access.Service
	}
	p.Grants = []access.Grant{g}
	rows, err := pool.Query(r.Context(), `SELECT account_id, until, reason FROM elevations WHERE person_id = $1`, p.ID)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var e access.Elevation
		if err := rows.Scan(&e.Account, &e.Until, &e.Reason); err != nil {
			return nil, err
		}
		p.Elevations = append(p.Elevations, e)
	}
	return p, rows.Err()
}
