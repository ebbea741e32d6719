// Package zitadeltest is a contract server: ZITADEL's calls and events as its documentation and its protocol files say them,
// over real HTTP, for tests. It was written from those, and never compared with ZITADEL itself.
//
// It is strict: unknown fields, missing ones, a user in an organization that is not there, an authorization before the
// project grant, a second user with a login name are refused, in the form of ZITADEL's errors. Reads lag behind writes. It
// answers late, wrongly, twice and not at all, by a seed. It owns what is there, every call that came, and the events to send.
// It is no part of the product.
package zitadeltest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// Names that are always the same.
const (
	ServiceUser  = "service-user"
	Project      = "project"
	Platform     = "platform" // the organization that owns the project
	Instance     = "instance"
	keyID        = "key"
	tokenFor     = time.Hour
	bodyMax      = 1 << 20
	bearerPrefix = "Bearer "
)

// Faults are how many of a hundred calls go wrong in each way.
type Faults struct {
	Late    int // an answer takes a while
	Lost    int // it was done, and the connection ends without an answer
	Closed  int // it was not done, and the connection ends
	Error   int // 500, not done
	Limited int // 429, not done
	Proxy   int // 502 with a page of HTML, half of them after it was done
	Broken  int // half an object of JSON, after it was done
	WrongID int // another id than was made, after it was done
}

// Call is a call that came.
type Call struct {
	Method, Path string
	Body         string
	Status       int // 0: it got no answer
}

// Server is the contract server.
type Server struct {
	URL    string
	Before func(Call) // is called with each call before anything is done about it; set it before the first

	mu      sync.Mutex
	random  *mathrand.Rand
	faults  Faults
	away    bool
	lag     time.Duration
	truth   *state
	view    *state
	writes  []write // that the view has not seen
	calls   []Call
	events  []Event
	tokens  map[string]time.Time
	mails   map[string]int
	numbers map[string]int64 // sequences of aggregates
	next    int
}

// write is a change that reads see later.
type write struct {
	at    time.Time
	apply func(*state)
}

var key = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// New starts one.
func New(t testing.TB, seed uint64) *Server {
	t.Helper()
	s := &Server{random: mathrand.New(mathrand.NewPCG(seed, 1)), truth: newState(), view: newState(), tokens: map[string]time.Time{}, mails: map[string]int{}, numbers: map[string]int64{}}
	mux := http.NewServeMux()
	s.routes(mux)
	server := httptest.NewUnstartedServer(s.faulty(mux))
	server.Config.ErrorLog = nil
	server.Start()
	t.Cleanup(server.Close)
	s.URL = server.URL
	s.put(func(v *state) {
		v.organizations[Platform] = Organization{ID: Platform, Name: "Platform", Active: true}
	})
	s.Settle()
	return s
}

// KeyFile is the service user's.
func KeyFile(t testing.TB) []byte {
	t.Helper()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "serviceaccount", "keyId": keyID, "userId": ServiceUser,
		"key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Misbehave sets how many calls go wrong from now on.
func (s *Server) Misbehave(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Lag sets how far reads lag behind writes.
func (s *Server) Lag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = d
}

// Away ends every connection without an answer, until it is there again.
func (s *Server) Away(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// Settle lets reads see all writes.
func (s *Server) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp(time.Time{})
}

// Calls are those that came, in order.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call{}, s.calls...)
}

// put changes what is there, now for writes and later for reads. The lock is held, or nobody else is there yet.
func (s *Server) put(apply func(*state)) {
	apply(s.truth)
	s.writes = append(s.writes, write{time.Now(), apply})
}

// catchUp lets reads see the writes before a time; the zero time: all.
func (s *Server) catchUp(before time.Time) {
	for len(s.writes) > 0 && (before.IsZero() || s.writes[0].at.Before(before)) {
		s.writes[0].apply(s.view)
		s.writes = s.writes[1:]
	}
}

// seen is what reads see. The lock is held.
func (s *Server) seen() *state {
	s.catchUp(time.Now().Add(-s.lag))
	return s.view
}

// fault is how one call goes wrong.
type fault int

const (
	none fault = iota
	late
	lost
	closed
	failing
	limiting
	proxyBefore
	proxyAfter
	broken
	wrongID
)

func (s *Server) pick() fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return closed
	}
	n, f := s.random.IntN(100), s.faults
	for _, way := range []struct {
		of   int
		what fault
	}{{f.Late, late}, {f.Lost, lost}, {f.Closed, closed}, {f.Error, failing}, {f.Limited, limiting}, {f.Proxy, proxyBefore}, {f.Broken, broken}, {f.WrongID, wrongID}} {
		if n < way.of {
			if way.what == proxyBefore && s.random.IntN(2) == 0 {
				return proxyAfter
			}
			return way.what
		}
		n -= way.of
	}
	return none
}

const page = "<html><body>Bad Gateway</body></html>"

// faulty does what a call asks for, and says so or something else.
func (s *Server) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, bodyMax))
		r.Body = io.NopCloser(bytes.NewReader(body))
		f := s.pick()
		if s.Before != nil {
			s.Before(Call{Method: r.Method, Path: r.URL.Path, Body: string(body)})
		}
		call := Call{Method: r.Method, Path: r.URL.Path, Body: string(body)}
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls = append(s.calls, call)
		}()
		answer := func(status int, contentType, text string) {
			call.Status = status
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
		switch f {
		case closed:
			panic(http.ErrAbortHandler)
		case failing:
			answer(http.StatusInternalServerError, "application/json", `{"code":13,"message":"internal"}`)
			return
		case limiting:
			answer(http.StatusTooManyRequests, "application/json", `{"code":8,"message":"quota exceeded"}`)
			return
		case proxyBefore:
			answer(http.StatusBadGateway, "text/html", page)
			return
		}
		did := httptest.NewRecorder()
		next.ServeHTTP(did, r)
		text := did.Body.String()
		switch f {
		case lost:
			panic(http.ErrAbortHandler)
		case proxyAfter:
			answer(http.StatusBadGateway, "text/html", page)
		case broken:
			answer(did.Code, "application/json", text[:len(text)/2])
		case wrongID:
			if r.URL.Path == "/v2/users/new" {
				text = strings.Replace(text, `"id":"`, `"id":"x`, 1)
			}
			answer(did.Code, "application/json", strings.NewReplacer(`"organizationId":"`, `"organizationId":"x`, `"userId":"`, `"userId":"x`).Replace(text))
		default:
			if f == late {
				time.Sleep(20 * time.Millisecond)
			}
			answer(did.Code, did.Header().Get("Content-Type"), text)
		}
	})
}

func (s *Server) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, object{"issuer": s.URL, "token_endpoint": s.URL + "/oauth/v2/token", "authorization_endpoint": s.URL + "/oauth/v2/authorize",
			"jwks_uri": s.URL + "/oauth/v2/keys"})
	})
	mux.HandleFunc("POST /oauth/v2/token", s.token)
	mux.HandleFunc("GET /oauth/v2/keys", s.keys)
	for pattern, f := range map[string]func(*http.Request, *decoder) (any, *failure){
		"POST /v2/organizations":                  s.addOrganization,
		"POST /v2/organizations/_search":          s.listOrganizations,
		"POST /v2/organizations/{id}":             s.updateOrganization,
		"POST /v2/organizations/{id}/{verb}":      s.moveOrganization,
		"POST /v2/users/new":                      s.createUser,
		"POST /v2/users":                          s.listUsers,
		"GET /v2/users/{id}":                      s.getUser,
		"DELETE /v2/users/{id}":                   s.deleteUser,
		"POST /v2/users/{id}/{verb}":              s.moveUser,
		"POST " + projects + "CreateProjectGrant": s.createProjectGrant,
		"POST " + projects + "UpdateProjectGrant": s.updateProjectGrant,
		"POST " + authorizations + "{verb}":       s.authorization,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			connect := strings.HasPrefix(r.URL.Path, "/zitadel.")
			s.mu.Lock()
			defer s.mu.Unlock()
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearerPrefix)
			if !ok || s.tokens[token].Before(time.Now()) {
				(&failure{16, "auth header missing or invalid"}).write(w, connect)
				return
			}
			d := &decoder{r: r}
			answer, failed := f(r, d)
			switch {
			case d.failure != nil:
				d.failure.write(w, connect)
			case failed != nil:
				failed.write(w, connect)
			case r.Pattern == "POST /v2/organizations" || r.Pattern == "POST /v2/users/new":
				reply(w, http.StatusCreated, answer)
			default:
				reply(w, http.StatusOK, answer)
			}
		})
	}
}

// token takes an assertion that the service user's key signed.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	k, err := key()
	var claims struct {
		Iss, Sub string
		Aud      any
		Exp      int64
	}
	var payload []byte
	if err == nil {
		var signed *jose.JSONWebSignature
		if signed, err = jose.ParseSigned(r.PostFormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256}); err == nil {
			payload, err = signed.Verify(&k.PublicKey)
		}
	}
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	scope := r.PostFormValue("scope")
	if err != nil || claims.Iss != ServiceUser || claims.Sub != ServiceUser || !strings.Contains(fmt.Sprint(claims.Aud), s.URL) || claims.Exp < time.Now().Unix() ||
		r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !strings.Contains(scope, "urn:zitadel:iam:org:project:id:zitadel:aud") {
		reply(w, http.StatusBadRequest, object{"error": "invalid_grant", "error_description": "the assertion is not good"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text()
	s.tokens[token] = time.Now().Add(tokenFor)
	reply(w, http.StatusOK, object{"access_token": token, "token_type": "Bearer", "expires_in": int(tokenFor.Seconds())})
}
