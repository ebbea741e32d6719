package issuer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/control/signin"
	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a cockpit with its issuer, over HTTP.
type world struct {
	t      *testing.T
	url    string
	pool   *pgxpool.Pool
	keys   *secrets.Keys
	issuer atomic.Pointer[Issuer]
	signin *signin.Service
	away   atomic.Bool // the issuer
	last   atomic.Pointer[access.Principal]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKeys(t testing.TB) *secrets.Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	must(t, secrets.Create(path))
	keys, err := secrets.Load(path)
	must(t, err)
	return keys
}

func newWorld(t *testing.T, tokensFor time.Duration) *world {
	t.Helper()
	w := &world{t: t, pool: testkit.Pool(t, testkit.Database(t), postgres.RolePlatform), keys: newKeys(t)}
	w.do(`INSERT INTO accounts (key, name, time_zone) VALUES ('acme', 'Acme', 'UTC'), ('other', 'Other', 'UTC')`)
	w.do(`WITH root AS (INSERT INTO scopes (account_id, section_id, kind) SELECT account_id, s.id, 'account' FROM accounts a, sections s WHERE a.key = 'acme' AND s.key = 'copilot' RETURNING *)
		INSERT INTO account_sections (account_id, section_id, root_scope_id) SELECT account_id, section_id, id FROM root`)
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	w.url = "http://" + server.Listener.Addr().String()
	i, err := New(Config{URL: w.url + "/issuer", PublicURL: w.url, Keys: w.keys, Pool: w.pool, TokensFor: tokensFor})
	must(t, err)
	w.issuer.Store(i)
	w.signin = w.service()
	mux.Handle("/auth/", w.signin.Handler())
	mux.HandleFunc("/issuer/", func(res http.ResponseWriter, r *http.Request) {
		if w.away.Load() {
			panic(http.ErrAbortHandler)
		}
		w.issuer.Load().ServeHTTP(res, r)
	})
	mux.HandleFunc("/v1/", func(res http.ResponseWriter, r *http.Request) {
		who, err := w.signin.Authenticate(r)
		w.last.Store(who)
		var e *signin.Error
		if errors.As(err, &e) {
			http.Error(res, e.Code, e.Status)
		}
	})
	server.Start()
	t.Cleanup(server.Close)
	return w
}

// service makes a cockpit, as another process of the same deployment would.
func (w *world) service() *signin.Service {
	w.t.Helper()
	s, err := signin.New(signin.Config{Issuer: w.url + "/issuer", ClientID: ClientID, ClientSecret: w.issuer.Load().ClientSecret(), ProjectID: ProjectID,
		Organization: Organization, PublicURL: w.url, Log: slog.New(slog.DiscardHandler)}, w.pool, w.keys, noKeys{})
	must(w.t, err)
	return s
}

// noKeys are the service keys of a cockpit that has none.
type noKeys struct{}

func (noKeys) Authenticate(context.Context, string) (collector.Principal, error) {
	return collector.Principal{}, collector.ErrUnauthenticated
}

func (w *world) do(sql string, args ...any) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), sql, args...)
	must(w.t, err)
}

// browser keeps cookies and follows redirects.
type browser struct {
	*http.Client
	w *world
}

func (w *world) browser() browser {
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	return browser{&http.Client{Jar: jar}, w}
}

// answer is what a request came to, and where.
type answer struct {
	status int
	body   string
	header http.Header
	at     *url.URL
}

func (b browser) send(method, path string, form url.Values, header ...string) answer {
	b.w.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.w.url + path
	}
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, path, strings.NewReader(form.Encode()))
	must(b.w.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.Do(req)
	must(b.w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(b.w.t, err)
	return answer{res.StatusCode, string(text), res.Header, res.Request.URL}
}

// still is the browser without following redirects.
func (b browser) still() browser {
	return browser{&http.Client{Jar: b.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, b.w}
}

// signIn goes through the page to pick from, and ends where it wanted to go.
func (b browser) signIn(as, back string) answer {
	b.w.t.Helper()
	page := b.send(http.MethodGet, "/auth/login?return="+url.QueryEscape(back), nil)
	if page.status != http.StatusOK || !strings.HasSuffix(page.at.Path, "/issuer/pick") {
		return page
	}
	return b.send(http.MethodPost, page.at.String(), url.Values{"id": {page.at.Query().Get("id")}, "as": {as}})
}

// session is the cookie of the cockpit.
func (b browser) session() string {
	at, _ := url.Parse(b.w.url)
	for _, c := range b.Jar.Cookies(at) {
		if c.Name == "cockpit-"+at.Port() {
			return c.Value
		}
	}
	return ""
}
