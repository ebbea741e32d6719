package api_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

// wire is a connection to Postgres that can be cut.
type wire struct {
	to       string
	listener net.Listener
	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{to: to, listener: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer s.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.open[c], w.open[s] = true, true
	w.mu.Unlock()
	done := make(chan bool, 2)
	go func() { _, _ = io.Copy(s, c); done <- true }()
	go func() { _, _ = io.Copy(c, s); done <- true }()
	<-done
	w.mu.Lock()
	delete(w.open, c)
	delete(w.open, s)
	w.mu.Unlock()
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.open {
			_ = c.Close()
		}
	}
}

func TestPostgresAway(t *testing.T) {
	direct := testkit.Database(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, u.Host)
	u.Host = w.listener.Addr().String()
	s := controltest.New(t, controltest.Options{Database: u.String()})
	admin := s.As("account_admin:acme")
	admin.Want(http.StatusOK, http.MethodGet, acme, "")
	before := runtime.NumGoroutine()

	w.set(true)
	var g sync.WaitGroup
	for i := range 40 {
		g.Go(func() {
			method, body := http.MethodGet, ""
			if i%2 == 0 {
				method, body = http.MethodPatch, `{"name":"A"}`
			}
			r, err := admin.Try(t.Context(), method, acme, body, "If-Match", "*")
			if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || r.Code() != api.CodeUnavailable || strings.Contains(string(r.Body), u.Host) {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	g.Wait()
	w.set(false)

	deadline := time.Now().Add(30 * time.Second)
	for admin.Do(http.MethodGet, acme, "").Status != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("it does not come back by itself")
		}
		time.Sleep(50 * time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections()
	for s.Stores.App.Stat().AcquiredConns()+s.Stores.Platform.Stat().AcquiredConns() > 0 || runtime.NumGoroutine() > before+20 {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %d connections, %d goroutines, before %d", s.Stores.App.Stat().AcquiredConns()+s.Stores.Platform.Stat().AcquiredConns(), runtime.NumGoroutine(), before)
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Owner.Reset() // its connections were cut, too
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE action = 'account.updated'`); n != 0 {
		t.Errorf("%d changes are on record that were answered 503", n)
	}
}
