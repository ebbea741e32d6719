package issuer

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	jose "github.com/go-jose/go-jose/v4"
)

// token asks for one as a machine does.
func (w *world) token(form url.Values) string {
	w.t.Helper()
	var said struct {
		Token string `json:"access_token"`
	}
	a := w.browser().send(http.MethodPost, "/issuer/oauth/token", form)
	must(w.t, json.Unmarshal([]byte(a.body), &said))
	return said.Token
}

func (w *world) machine(as, secret string) string {
	return w.token(url.Values{"grant_type": {"client_credentials"}, "client_id": {as}, "client_secret": {secret}})
}

func (w *world) call(token string) answer {
	return w.browser().send(http.MethodGet, "/v1/me", nil, "Authorization", "Bearer "+token)
}

func TestTokensOfEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	secret := w.issuer.Load().ServiceSecret()
	for as, role := range map[string]access.Role{"super_admin": access.SuperAdmin, "account_admin@acme": access.AccountAdmin, "account_viewer@acme": access.AccountViewer,
		"section_admin@acme/copilot": access.SectionAdmin, "end_user@acme": "", "opaque:account_admin@other": access.AccountAdmin, "opaque:super_admin": access.SuperAdmin} {
		token := w.machine(as, secret)
		if a := w.call(token); a.status != 200 {
			t.Errorf("%s: %+v", as, a)
			continue
		}
		who := w.last.Load()
		if who.Client != nil || who.Name == who.Subject || (role == "") != (len(who.Grants) == 0) || role != "" && (len(who.Grants) != 1 || !who.Is(role)) {
			t.Errorf("%s: %+v", as, who)
		}
	}
	for _, as := range []string{"account_admin@nobody", "account_admin", "section_admin@acme", "section_admin@acme/console", "section_admin@other/copilot", "root", "", "cockpit",
		"super_admin@acme", "account_admin@acme/copilot", "account_admin@ac%", "opaque:opaque:super_admin"} {
		if token := w.machine(as, secret); token != "" {
			t.Errorf("a token for %q", as)
		}
	}
	if w.machine("super_admin", "wrong") != "" || w.machine("super_admin", w.issuer.Load().ClientSecret()) != "" {
		t.Error("a token without the secret")
	}
}

// Tokens survive a restart of both at the same address.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	secret := w.issuer.Load().ServiceSecret()
	tokens := []string{w.machine("account_admin@acme", secret), w.machine("opaque:account_admin@acme", secret)}
	b := w.browser()
	b.signIn("account_admin@acme", "/")
	again, err := New(w.issuer.Load().cfg)
	must(t, err)
	w.issuer.Store(again)
	w.signin = w.service()
	for _, token := range tokens {
		if a := w.call(token); a.status != 200 {
			t.Errorf("%+v", a)
		}
	}
	if a := b.send(http.MethodGet, "/v1/me", nil); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

// A service user signs an assertion; its token is that of a client of its own, which must be registered.
func TestJWTProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.issuer.Load().UserKey(), KeyID: "dev"}}, nil)
	must(t, err)
	now := time.Now().Unix()
	text, err := json.Marshal(map[string]any{"iss": "account_admin@acme", "sub": "account_admin@acme", "aud": w.url + "/issuer", "iat": now, "exp": now + 60})
	must(t, err)
	signed, err := signer.Sign(text)
	must(t, err)
	assertion, err := signed.CompactSerialize()
	must(t, err)
	token := w.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}, "scope": {"openid"}})
	if a := w.call(token); a.status != 401 || a.body != "client_refused\n" {
		t.Fatalf("%+v", a)
	}
	w.do(`INSERT INTO clients (key, name, issuer, client_id, permissions) VALUES ('robot', 'Robot', $1, 'account_admin@acme', '{account.read}')`, w.url+"/issuer")
	if a := w.call(token); a.status != 200 || w.last.Load().Client.Key != "robot" || len(w.last.Load().Grants) != 1 {
		t.Errorf("%+v %+v", a, w.last.Load())
	}
}

// Pages of other origins may call only if they are a registered client's.
func TestOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	w.do(`INSERT INTO clients (key, name, issuer, client_id, permissions, origins) VALUES ('web', 'Web', $1, 'web', '{account.read}', '{https://web.example}')`, w.url+"/issuer")
	for origin, allowed := range map[string]bool{w.url: true, "https://web.example": true, "https://evil.example": false, "null": false, "https://web.example.evil.example": false} {
		a := w.browser().send(http.MethodOptions, "/issuer/oauth/token", nil, "Origin", origin, "Access-Control-Request-Method", "POST")
		if (a.header.Get("Access-Control-Allow-Origin") == origin) != allowed || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, a.header)
		}
	}
	for path, ok := range map[string]bool{"redirect_uri=https://web.example/cb&client_id=web": true, "redirect_uri=https://evil.example/cb&client_id=web": false,
		"redirect_uri=https://web.example.evil.example/cb&client_id=web": false, "redirect_uri=" + w.url + "/other&client_id=cockpit": false, "redirect_uri=https://web.example/cb&client_id=nobody": false} {
		a := w.browser().still().send(http.MethodGet, "/issuer/authorize?response_type=code&scope=openid&state=s&"+path, nil)
		if (a.status == http.StatusFound) != ok {
			t.Errorf("%s: %+v", path, a)
		}
	}
}
