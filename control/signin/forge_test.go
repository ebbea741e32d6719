package signin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const project = "269"

// forge is an issuer that signs whatever a test wants.
type forge struct {
	*httptest.Server
	ec, stranger *ecdsa.PrivateKey
	rsa          *rsa.PrivateKey
	ed           ed25519.PrivateKey
	keysAsked    atomic.Int64
	introspected atomic.Int64
	mu           sync.Mutex
	opaque       map[string]map[string]any // answers of introspection
	away         atomic.Bool
	unpublished  atomic.Bool // the EC key
}

func newForge(t testing.TB) *forge {
	t.Helper()
	f := &forge{opaque: map[string]map[string]any{}}
	var err error
	f.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	f.stranger, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	f.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, f.ed, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"introspection_endpoint": f.URL + "/introspect", "userinfo_endpoint": f.URL + "/userinfo"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		f.keysAsked.Add(1)
		keys := []any{jose.JSONWebKey{KeyID: "rsa", Key: &f.rsa.PublicKey, Use: "sig", Algorithm: "RS256"}, jose.JSONWebKey{KeyID: "ed", Key: f.ed.Public(), Use: "sig"},
			jose.JSONWebKey{KeyID: "enc", Key: &f.ec.PublicKey, Use: "enc"}, map[string]string{"kty": "unheard-of", "kid": "x"}}
		if !f.unpublished.Load() {
			keys = append(keys, jose.JSONWebKey{KeyID: "ec", Key: &f.ec.PublicKey, Use: "sig", Algorithm: "ES256"})
		}
		answer(w, map[string]any{"keys": keys})
	})
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, r *http.Request) {
		f.introspected.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "cockpit" || secret != "s3cret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if a, ok := f.opaque[r.FormValue("token")]; ok {
			answer(w, a)
			return
		}
		answer(w, map[string]any{"active": false})
	})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.away.Load() {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// claims are those of a good access token.
func (f *forge) claims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": f.URL, "sub": "ada", "aud": []string{"cockpit", project}, "client_id": "cockpit", "azp": "cockpit", "jti": "1", "iat": now, "nbf": now, "exp": now + 600,
		"urn:zitadel:iam:org:project:" + project + ":roles": map[string]any{"account_admin": map[string]any{"org-acme": "acme.example"}}}
}

// token signs a payload with the EC key.
func (f *forge) token(payload any) string { return f.signed(f.ec, "ES256", "ec", "JWT", payload) }

// signed makes a compact JWS; payload is a text or is marshalled.
func (f *forge) signed(key crypto.PrivateKey, alg, kid, typ string, payload any) string {
	header := map[string]any{"alg": alg}
	if kid != "" {
		header["kid"] = kid
	}
	if typ != "" {
		header["typ"] = typ
	}
	return f.raw(key, header, payload)
}

// raw signs with any header at all, as no library would.
func (f *forge) raw(key crypto.PrivateKey, header any, payload any) string {
	text := func(v any) string {
		b, ok := v.(string)
		if !ok {
			j, err := json.Marshal(v)
			if err != nil {
				panic(err)
			}
			b = string(j)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(b))
	}
	input := text(header) + "." + text(payload)
	hash := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, hash[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, hash[:])
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(input))
	case []byte:
		signature = k
	}
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// with is a good token's claims, changed; a nil value takes one away.
func (f *forge) with(changes ...any) map[string]any {
	c := f.claims()
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

// world is a service on a database of its own, whose issuer is a forge.
type world struct {
	*Service
	f    *forge
	pool *pgxpool.Pool
	url  string
	logs *bytes.Buffer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	f := newForge(t)
	url := testkit.Database(t)
	w := &world{f: f, url: url, pool: testkit.Pool(t, url, postgres.RolePlatform), logs: &bytes.Buffer{}}
	w.Service = w.serve(t, w.pool, f.URL)
	_, err := w.pool.Exec(t.Context(), fmt.Sprintf(`INSERT INTO accounts (key, name, time_zone, issuer_organization) VALUES ('acme', 'Acme', 'UTC', 'org-acme'), ('other', 'Other', 'UTC', 'org-other');
		INSERT INTO clients (key, name, issuer, client_id, permissions, state) VALUES ('web', 'Web', '%[1]s', 'web-client', '{account.read}', 'active'), ('old', 'Old', '%[1]s', 'old-client', '{account.read}', 'inactive')`, f.URL))
	must(t, err)
	return w
}

func (w *world) serve(t testing.TB, pool *pgxpool.Pool, issuer string) *Service {
	t.Helper()
	s, err := New(Config{Issuer: issuer, ClientID: "cockpit", ClientSecret: "s3cret", ProjectID: project, Organization: "org-platform", PublicURL: "http://127.0.0.1:8080",
		Log: slog.New(slog.NewTextHandler(&syncWriter{b: w.logs}, nil))}, pool, newKeys(t), nil)
	must(t, err)
	return s
}

// syncWriter lets many log into one buffer.
type syncWriter struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func newKeys(t testing.TB) *secrets.Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	must(t, secrets.Create(path))
	keys, err := secrets.Load(path)
	must(t, err)
	return keys
}

func bearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/v1/me", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func cut(token string, part int) string {
	parts := strings.Split(token, ".")
	return strings.Join(append(parts[:part:part], parts[part+1:]...), ".")
}
