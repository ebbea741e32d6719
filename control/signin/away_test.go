package signin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/schemas/postgres"
)

func wantRefusal(t *testing.T, who *access.Principal, err error, status int, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code || who != nil {
		t.Errorf("%v %v, want %d %s", who, err, status, code)
	}
	h := http.Header{}
	if e != nil {
		e.Header(h)
		if (status == 503) != (h.Get("Retry-After") != "") || (status == 401) != (h.Get("WWW-Authenticate") != "") {
			t.Errorf("%v", h)
		}
	}
}

func TestIssuerAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.f.answers()
	w.f.away.Store(true)
	token := w.f.token(w.f.claims())
	for _, token := range []string{token, "good"} {
		who, err := w.Authenticate(bearer(token))
		wantRefusal(t, who, err, 503, CodeIssuerAway)
	}
	w.f.away.Store(false)
	eventually(t, func() bool { _, err := w.Authenticate(bearer(token)); return err == nil })
	if _, err := w.Authenticate(bearer("good")); err != nil {
		t.Fatal(err)
	}
	w.f.away.Store(true)
	for _, token := range []string{token, w.f.token(w.f.with("jti", "2")), "good"} { // what is known helps
		if _, err := w.Authenticate(bearer(token)); err != nil {
			t.Error(err)
		}
	}
	who, err := w.Authenticate(bearer("good-2"))
	wantRefusal(t, who, err, 503, CodeIssuerAway)
	if strings.Contains(w.logs.String(), "s3cret") {
		t.Error("the secret was logged")
	}
}

// A caller who hangs up does not keep the keys from the next one.
func TestACallerThatHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if who, err := w.Authenticate(bearer(w.f.token(w.f.claims())).WithContext(ctx)); err == nil {
		t.Errorf("%v", who)
	}
	eventually(t, func() bool { _, err := w.Authenticate(bearer(w.f.token(w.f.claims()))); return err == nil })
}

func TestMadeUpKeysAndTokensDoNotFloodTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.f.answers()
	var g sync.WaitGroup
	for i := range 100 {
		g.Go(func() {
			kid := string(rune('a'+i%26)) + string(rune('a'+i/26))
			who, err := w.Authenticate(bearer(w.f.signed(w.f.stranger, "ES256", kid, "JWT", w.f.claims())))
			wantRefusal(t, who, err, 401, CodeInvalidToken)
			who, err = w.Authenticate(bearer("the-same"))
			wantRefusal(t, who, err, 401, CodeInvalidToken)
			if _, err := w.Authenticate(bearer("good")); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if k, i := w.f.keysAsked.Load(), w.f.introspected.Load(); k > 2 || i != 2 {
		t.Errorf("keys were asked for %d times, introspection %d times", k, i)
	}
}

// A key that comes later is found, and one that the issuer withdrew is no longer good once its keys are fetched again.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.f.unpublished.Store(true)
	token := w.f.token(w.f.claims())
	who, err := w.Authenticate(bearer(token))
	wantRefusal(t, who, err, 401, CodeInvalidToken)
	w.f.unpublished.Store(false)
	k, err := w.issuer.get(t.Context())
	must(t, err)
	older := func(by time.Duration) {
		k.keys.mu.Lock()
		k.keys.at, k.keys.triedAt = k.keys.at.Add(-by), k.keys.triedAt.Add(-by)
		k.keys.mu.Unlock()
	}
	older(unknownFor)
	if _, err := w.Authenticate(bearer(token)); err != nil {
		t.Fatal(err)
	}
	w.f.unpublished.Store(true)
	older(keysFor)
	eventually(t, func() bool { _, err := w.Authenticate(bearer(token)); return err != nil })
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pool, err := postgres.Open(t.Context(), w.url, postgres.RolePlatform)
	must(t, err)
	s := w.serve(t, pool, w.f.URL)
	if _, err := s.Authenticate(bearer(w.f.token(w.f.claims()))); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	who, err := s.Authenticate(bearer(w.f.token(w.f.claims())))
	wantRefusal(t, who, err, 503, CodeDatabaseAway)
	r := bearer("")
	r.Header.Del("Authorization")
	r.AddCookie(&http.Cookie{Name: s.cookie, Value: "x"})
	who, err = s.Authenticate(r)
	wantRefusal(t, who, err, 503, CodeDatabaseAway)
}

// What Postgres says now counts, not what a token said when it was made.
func TestWhatHoldsNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	roles := "urn:zitadel:iam:org:project:" + project + ":roles"
	sam := w.f.token(w.f.with("sub", "sam", roles, map[string]any{"super_admin": map[string]any{"org-platform": "p"}, "account_admin": map[string]any{"org-other": "o"}}))
	fake := w.f.token(w.f.with("sub", "eve", roles, map[string]any{"super_admin": map[string]any{"org-acme": "a"}, "account_admin": map[string]any{"org-platform": "p", "nowhere": "n"}}))
	who, err := w.Authenticate(bearer(sam))
	must(t, err)
	if !who.Is(access.SuperAdmin) || !who.Is(access.AccountAdmin) || len(who.Grants) != 2 {
		t.Errorf("sam: %+v", who)
	}
	eve, err := w.Authenticate(bearer(fake))
	must(t, err)
	if len(eve.Grants) != 0 {
		t.Errorf("a role's name alone: %+v", eve)
	}
	change := func(sql string, args ...any) {
		t.Helper()
		_, err := w.pool.Exec(ctx, sql, args...)
		must(t, err)
	}
	change(`INSERT INTO assignments (account_id, person_id, role) SELECT account_id, $1, 'account_viewer' FROM accounts WHERE key IN ('acme', 'other')`, who.ID)
	change(`INSERT INTO elevations (account_id, person_id, reason, until) SELECT account_id, $1, 'why', now() + u FROM accounts, (VALUES (interval '1 hour'), (interval '-1 s')) x(u) WHERE key = 'acme'`, who.ID)
	who, err = w.Authenticate(bearer(sam))
	must(t, err)
	if len(who.Grants) != 3 || who.Is(access.AccountAdmin) || len(who.Elevations) != 1 || who.Elevations[0].Reason != "why" {
		t.Errorf("narrowed: %+v", who)
	}
	web := w.f.token(w.f.with("client_id", "web-client", "azp", nil))
	if _, err := w.Authenticate(bearer(web)); err != nil {
		t.Fatal(err)
	}
	change(`UPDATE clients SET state = 'inactive' WHERE key = 'web'`)
	no, err := w.Authenticate(bearer(web))
	wantRefusal(t, no, err, 401, CodeClientRefused)
	change(`UPDATE people SET state = 'inactive' WHERE subject = 'sam'`)
	no, err = w.Authenticate(bearer(sam))
	wantRefusal(t, no, err, 401, CodePersonInactive)
	change(`UPDATE people SET last_seen_at = now() - interval '1 hour'`)
	no, err = w.Authenticate(bearer(sam))
	wantRefusal(t, no, err, 401, CodePersonInactive)
}

// A person is written down once, however many requests come first, and not at every request.
func TestFirstSight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.f.token(w.f.with("name", "Ada\x00\u202e "+strings.Repeat("x", 500), "email", "ada@acme.example"))
	ids := make([]int64, 20)
	var g sync.WaitGroup
	for i := range ids {
		g.Go(func() {
			who, err := w.Authenticate(bearer(token))
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = who.ID
		})
	}
	g.Wait()
	for _, id := range ids {
		if id != ids[0] || id == 0 {
			t.Fatalf("%v", ids)
		}
	}
	var seen, again time.Time
	var name string
	must(t, w.pool.QueryRow(t.Context(), `SELECT last_seen_at, name FROM people WHERE subject = 'ada'`).Scan(&seen, &name))
	if _, err := w.Authenticate(bearer(token)); err != nil {
		t.Fatal(err)
	}
	must(t, w.pool.QueryRow(t.Context(), `SELECT last_seen_at FROM people`).Scan(&again))
	if !again.Equal(seen) || len([]rune(name)) != 200 || strings.Contains(name, "\x00") {
		t.Errorf("%v %v %q", seen, again, name)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*http.Request)
		code   string
	}{
		"nothing":     {func(*http.Request) {}, CodeUnauthenticated},
		"basic":       {func(r *http.Request) { r.SetBasicAuth("a", "b") }, CodeInvalidToken},
		"two headers": {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer a", "Bearer b"} }, CodeInvalidToken},
		"only bearer": {func(r *http.Request) { r.Header.Set("Authorization", "Bearer") }, CodeInvalidToken},
		"in the URL":  {func(r *http.Request) { r.URL.RawQuery = "access_token=" + w.f.token(w.f.claims()) }, CodeUnauthenticated},
		"no session":  {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: w.cookie, Value: "x"}) }, CodeSessionEnded},
		"two cookies": {func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: w.cookie, Value: "x"})
			r.AddCookie(&http.Cookie{Name: w.cookie, Value: "y"})
		}, CodeInvalidToken},
	} {
		r := bearer("")
		r.Header.Del("Authorization")
		c.change(r)
		who, err := w.Authenticate(r)
		t.Run(name, func(t *testing.T) { wantRefusal(t, who, err, 401, c.code) })
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := Config{Issuer: "https://id.example", ClientID: "c", ProjectID: "p", PublicURL: "https://cockpit.example"}
	must(t, good.Validate())
	for name, change := range map[string]func(*Config){
		"issuer over http": func(c *Config) { c.Issuer = "http://id.example" }, "issuer no URL": func(c *Config) { c.Issuer = "id.example" },
		"public over http": func(c *Config) { c.PublicURL = "http://cockpit.example" }, "public with a path": func(c *Config) { c.PublicURL += "/" },
		"no client": func(c *Config) { c.ClientID = "" }, "no project": func(c *Config) { c.ProjectID = "" }, "a password": func(c *Config) { c.Issuer = "https://a:b@id.example" },
		"like localhost": func(c *Config) { c.PublicURL = "http://localhost.example" }, "idle for longer": func(c *Config) { c.Idle, c.Absolute = 2, 1 },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for text, want := range map[string]string{"/a?b=c#d": "/a?b=c#d", "/a/b": "/a/b", "": "/", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example": "/", "evil": "/",
		"/a\nb": "/", "/%2f/evil": "/", "/\tx": "/", "/auth/login": "/", "javascript:alert(1)": "/", "/" + strings.Repeat("a", 3000): "/", "/\u2028": "/"} {
		if got := ownPath(text); got != want {
			t.Errorf("return to %q: %q", text, got)
		}
	}
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for range 600 {
		if f() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("not within 30 s")
}
