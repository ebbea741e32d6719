package issuer

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/signin"
	jose "github.com/go-jose/go-jose/v4"
)

func TestSigningInAndOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	b := w.browser()
	if a := b.signIn("account_admin@acme", "/v1/me?x=1"); a.status != 200 || a.at.RequestURI() != "/v1/me?x=1" {
		t.Fatalf("%+v", a)
	}
	who := w.last.Load()
	if who == nil || who.Kind != access.Person || who.Name != "Admin of Acme" || who.Session == 0 || len(who.Grants) != 1 || who.Grants[0].Role != access.AccountAdmin {
		t.Fatalf("%+v", who)
	}
	hash := sha256.Sum256([]byte(b.session()))
	var stored, tokens []byte
	must(t, w.pool.QueryRow(t.Context(), `SELECT hash, tokens FROM sessions`).Scan(&stored, &tokens))
	if !bytes.Equal(stored, hash[:]) || len(b.session()) != 43 || bytes.Contains(tokens, []byte("access")) {
		t.Errorf("the session %q is stored as %x with %q", b.session(), stored, tokens)
	}
	var said struct {
		Name string
		CSRF string `json:"csrf_token"`
	}
	must(t, json.Unmarshal([]byte(b.send(http.MethodGet, "/auth/session", nil).body), &said))
	for name, c := range map[string]struct {
		header []string
		status int
	}{
		"nothing":          {nil, 403},
		"no token":         {[]string{"Origin", w.url}, 403},
		"no origin":        {[]string{"X-CSRF-Token", said.CSRF}, 403},
		"another origin":   {[]string{"X-CSRF-Token", said.CSRF, "Origin", "https://evil.example"}, 403},
		"origin null":      {[]string{"X-CSRF-Token", said.CSRF, "Origin", "null"}, 403},
		"a sibling's page": {[]string{"X-CSRF-Token", said.CSRF, "Sec-Fetch-Site", "same-site", "Origin", w.url}, 403},
		"another token":    {[]string{"X-CSRF-Token", "AAAA" + said.CSRF[4:], "Origin", w.url}, 403},
		"our page":         {[]string{"X-CSRF-Token", said.CSRF, "Origin", w.url, "Sec-Fetch-Site", "same-origin"}, 200},
		"an older browser": {[]string{"X-CSRF-Token", said.CSRF, "Origin", w.url}, 200},
	} {
		if a := b.send(http.MethodPost, "/v1/thing", url.Values{}, c.header...); a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	var agent, from string
	must(t, w.pool.QueryRow(t.Context(), `SELECT user_agent, address FROM sessions WHERE id = $1 AND `+signin.Open, who.Session).Scan(&agent, &from))
	if !strings.HasPrefix(agent, "Go-http-client") || from != "127.0.0.1" {
		t.Errorf("%q %q", agent, from)
	}
	old := b.session()
	if a := b.send(http.MethodPost, "/auth/logout", url.Values{}, "Origin", w.url); a.status != 403 {
		t.Errorf("signed out by another page: %+v", a)
	}
	a := b.still().send(http.MethodPost, "/auth/logout", url.Values{"csrf_token": {said.CSRF}}, "Origin", w.url)
	to, err := url.Parse(a.header.Get("Location"))
	must(t, err)
	if a.status != 303 || to.Path != "/issuer/end_session" || to.Query().Get("id_token_hint") == "" || b.session() != "" {
		t.Errorf("signed out: %+v", a)
	}
	if a := b.still().send(http.MethodGet, to.String(), nil); a.status != 302 || a.header.Get("Location") != w.url+"/" {
		t.Errorf("signed out there: %+v", a)
	}
	if a := b.send(http.MethodGet, "/v1/me", nil, "Cookie", "cockpit-"+to.Port()+"="+old); a.status != 401 {
		t.Errorf("the cookie again: %+v", a)
	}
}

func TestAttacksOnSigningIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	victim, mallory := w.browser(), w.browser()
	begin := func(b browser) (state, callback string) {
		page := b.send(http.MethodGet, "/auth/login?return=//evil.example", nil)
		to := b.still().send(http.MethodPost, page.at.String(), url.Values{"id": {page.at.Query().Get("id")}, "as": {"end_user@acme"}})
		done := b.still().send(http.MethodGet, to.header.Get("Location"), nil)
		at, err := url.Parse(done.header.Get("Location"))
		must(t, err)
		return at.Query().Get("state"), at.String()
	}
	_, hers := begin(mallory)
	state, own := begin(victim)
	at, err := url.Parse(hers)
	must(t, err)
	mixed := w.url + "/auth/callback?code=" + url.QueryEscape(at.Query().Get("code")) + "&state=" + url.QueryEscape(state)
	refuse := func(name, path string) {
		t.Helper()
		if a := victim.send(http.MethodGet, path, nil); a.status != 403 || victim.session() != "" || strings.Contains(a.body, "<script") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	refuse("a callback that another browser began", hers)
	refuse("no state", "/auth/callback?code=x")
	refuse("a code of another sign-in", mixed)
	refuse("its cookie is used up", own)
	_, own = begin(victim)
	refuse("of another issuer", own+"&iss=https://evil.example")
	state, _ = begin(victim)
	refuse("an error", "/auth/callback?error=<script>&error_description=<script>alert(1)</script>&state="+url.QueryEscape(state))
	_, own = begin(victim)
	planted, _ := url.Parse(w.url)
	victim.Jar.SetCookies(planted, []*http.Cookie{{Name: "cockpit-" + planted.Port(), Value: "planted", Path: "/"}})
	a := victim.still().send(http.MethodGet, own, nil)
	if a.status != 303 || a.header.Get("Location") != "/" || victim.session() == "planted" || len(victim.session()) != 43 {
		t.Errorf("%+v", a)
	}
	first := victim.session()
	if a := victim.signIn("end_user@acme", "/"); victim.session() == first {
		t.Errorf("the id did not change: %+v", a)
	}
	if a := mallory.send(http.MethodGet, "/v1/me", nil, "Cookie", "cockpit-"+planted.Port()+"="+first); a.status != 401 {
		t.Errorf("the session before still is good: %+v", a)
	}
	if a := victim.still().send(http.MethodGet, strings.Replace(w.url, "127.0.0.1", "localhost", 1)+"/auth/login?return=/x", nil); !strings.HasPrefix(a.header.Get("Location"), w.url+"/auth/login?return=%2Fx") {
		t.Errorf("by another name: %+v", a)
	}
}

// While the issuer is away, those who signed in go on, until the end; nobody can sign in, and is told why.
func TestIssuerAwayAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	b := w.browser()
	if a := b.signIn("account_admin@acme", "/v1/me"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	w.away.Store(true)
	due := func() { w.do(`UPDATE sessions SET refresh_at = now() - interval '1 second'`) }
	due()
	var g sync.WaitGroup
	for range 10 {
		g.Go(func() {
			if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 200 {
				t.Errorf("%+v", a)
			}
		})
	}
	g.Wait()
	w.signin = w.service() // another process, which knows nothing of the issuer
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 200 || len(w.last.Load().Grants) != 1 {
		t.Errorf("%+v", a)
	}
	late := w.browser()
	mux := w.service().Handler()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/auth/login", nil)
	must(t, err)
	said := &recorder{header: http.Header{}}
	mux.ServeHTTP(said, req)
	if said.status != 503 || !strings.Contains(said.body.String(), "the issuer can&#39;t be reached") || said.header.Get("Retry-After") == "" {
		t.Errorf("signing in: %d %s", said.status, said.body.String())
	}
	w.away.Store(false)
	w.do(`UPDATE accounts SET issuer_organization = 'moved' WHERE key = 'acme'`)
	w.do(`UPDATE sessions SET roles = '{}'`)
	due()
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 200 || len(w.last.Load().Grants) != 1 {
		t.Errorf("roles were not asked for again: %+v %+v", a, w.last.Load())
	}
	if a := late.signIn("account_admin@acme", "/v1/me"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	for _, sql := range []string{`expires_at = now()`, `expires_at = now() + interval '1 hour', seen_at = now() - interval '3 hours'`, `seen_at = now(), ended_at = now()`} {
		w.do(`UPDATE sessions SET ` + sql)
		if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 401 {
			t.Errorf("%s: %+v", sql, a)
		}
	}
	w.do(`UPDATE sessions SET ended_at = NULL`)
	w.do(`UPDATE people SET state = 'inactive'`)
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 401 || strings.TrimSpace(a.body) != "person_inactive" {
		t.Errorf("%+v", a)
	}
	if a := late.signIn("account_admin@acme", "/"); a.status != 403 {
		t.Errorf("an inactive person signs in: %+v", a)
	}
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// Tokens that are over are renewed; when the issuer refuses, the session ends.
func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10*time.Second)
	b := w.browser()
	if a := b.signIn("account_viewer@acme", "/v1/me"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	var before, after []byte
	must(t, w.pool.QueryRow(t.Context(), `SELECT tokens FROM sessions`).Scan(&before))
	due := func() { w.do(`UPDATE sessions SET refresh_at = now() - interval '1 second', roles = '{}'`) }
	due()
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 200 || !w.last.Load().Is(access.AccountViewer) {
		t.Fatalf("%+v", a)
	}
	must(t, w.pool.QueryRow(t.Context(), `SELECT tokens FROM sessions`).Scan(&after))
	if bytes.Equal(before, after) {
		t.Error("the tokens are the old ones")
	}
	i, err := New(Config{URL: w.url + "/issuer", PublicURL: w.url, Keys: newKeys(t), Pool: w.pool}) // which knows nothing of what was given out
	must(t, err)
	i.storage.secret = w.issuer.Load().storage.secret
	w.issuer.Store(i)
	due()
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 401 {
		t.Errorf("%+v", a)
	}
}

func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.issuer.Load().storage.signing, KeyID: w.issuer.Load().storage.keyID()}},
		(&jose.SignerOptions{}).WithType("logout+jwt"))
	must(t, err)
	now := time.Now().Unix()
	token := func(changes map[string]any) url.Values {
		claims := map[string]any{"iss": w.url + "/issuer", "aud": ClientID, "iat": now, "exp": now + 120, "jti": "1", "sub": "account_admin@acme",
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		for name, value := range changes {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		text, err := json.Marshal(claims)
		must(t, err)
		signed, err := signer.Sign(text)
		must(t, err)
		compact, err := signed.CompactSerialize()
		must(t, err)
		return url.Values{"logout_token": {compact}}
	}
	acme, other := w.browser(), w.browser()
	acme.signIn("account_admin@acme", "/")
	other.signIn("account_admin@other", "/")
	post := func(form url.Values) answer {
		return w.browser().send(http.MethodPost, "/auth/backchannel-logout", form)
	}
	for name, form := range map[string]url.Values{"none": {}, "made up": {"logout_token": {"a.b.c"}}, "no events": token(map[string]any{"events": nil}),
		"another event": token(map[string]any{"events": map[string]any{"x": map[string]any{}}}), "a nonce": token(map[string]any{"nonce": "n"}), "another audience": token(map[string]any{"aud": "x"}),
		"nobody": token(map[string]any{"sub": nil}), "old": token(map[string]any{"iat": now - 3600}), "of the future": token(map[string]any{"iat": now + 3600}), "expired": token(map[string]any{"exp": now - 60}),
		"no jti": token(map[string]any{"jti": nil}), "another issuer": token(map[string]any{"iss": "https://evil.example"})} {
		if a := post(form); a.status != 400 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	status := func(b browser) int { return b.send(http.MethodGet, "/v1/me", nil).status }
	if status(acme) != 200 || status(other) != 200 {
		t.Fatal("somebody was signed out")
	}
	if a := post(token(map[string]any{"sid": "another"})); a.status != 200 || status(acme) != 200 {
		t.Errorf("another session of the issuer: %+v", a)
	}
	if a := post(token(nil)); a.status != 200 || status(acme) != 401 || status(other) != 200 {
		t.Errorf("%+v", a)
	}
	acme.signIn("account_admin@acme", "/")
	w.do(`UPDATE sessions SET created_at = now() + interval '1 minute' WHERE ended_at IS NULL`)
	if a := post(token(nil)); a.status != 200 || status(acme) != 200 {
		t.Errorf("the same token again ended a later session: %+v", a)
	}
}
