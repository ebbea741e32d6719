package signin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

const (
	attemptFor     = 10 * time.Minute // how long signing in may take
	returnBytesMax = 2048
	formBytesMax   = 64 << 10
)

// attempt is one sign-in under way, sealed in a cookie of its own, so that several tabs don't disturb each other.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Return   string    `json:"return"`
	Until    time.Time `json:"until"`
}

// Handler serves /auth/…: signing in and out, and who is signed in.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth/login", s.login)
	mux.HandleFunc("GET /auth/callback", s.callback)
	mux.HandleFunc("GET /auth/session", s.whoami)
	mux.HandleFunc("POST /auth/logout", s.logout)
	mux.HandleFunc("POST /auth/backchannel-logout", s.backchannel)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		r.Body = http.MaxBytesReader(w, r.Body, formBytesMax)
		mux.ServeHTTP(w, r)
	})
}

// ownPath takes a path of ours, and nothing that a browser could understand as another host's.
func ownPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || len(text) > returnBytesMax || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") ||
		strings.ContainsRune(text, '\\') || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.HasPrefix(u.Path, "//") ||
		strings.HasPrefix(u.Path, "/auth/") {
		return "/"
	}
	return text
}

func (s *Service) attemptCookie(state string) string {
	return s.cookieName("cockpit-signin-" + state[:min(8, len(state))])
}

func (s *Service) login(w http.ResponseWriter, r *http.Request) {
	back := ownPath(r.URL.Query().Get("return"))
	if r.Host != s.public.Host { // the cookie must be where the issuer sends the browser to
		http.Redirect(w, r, s.cfg.PublicURL+"/auth/login?return="+url.QueryEscape(back), http.StatusSeeOther)
		return
	}
	k, err := s.issuer.get(r.Context())
	if err != nil {
		s.sorry(w, r, err, back)
		return
	}
	a := attempt{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Return: back, Until: time.Now().Add(attemptFor)}
	text, err := json.Marshal(a)
	if err == nil {
		text, err = s.keys.Seal(text, "signin attempt")
	}
	if err != nil {
		s.sorry(w, r, err, back)
		return
	}
	s.setCookie(w, s.attemptCookie(a.State), base64.RawURLEncoding.EncodeToString(text), attemptFor)
	target := rp.AuthURL(a.State, k.party, rp.AuthURLOpt(rp.WithURLParam("nonce", a.Nonce)), rp.WithCodeChallenge(oidc.NewSHACodeChallenge(a.Verifier)))
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// attempted opens the cookie of the sign-in that a callback belongs to.
func (s *Service) attempted(r *http.Request, state string) (a attempt, ok bool) {
	cookies := r.CookiesNamed(s.attemptCookie(state))
	if state == "" || len(cookies) != 1 {
		return a, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil {
		return a, false
	}
	text, err := s.keys.Open(sealed, "signin attempt")
	if err != nil || json.Unmarshal(text, &a) != nil {
		return a, false
	}
	return a, hmac.Equal([]byte(a.State), []byte(state)) && time.Now().Before(a.Until)
}

func (s *Service) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a, ok := s.attempted(r, q.Get("state"))
	if !ok {
		s.sorry(w, r, refused("this sign-in was not begun in this browser, or took too long"), "/")
		return
	}
	s.dropCookie(w, s.attemptCookie(a.State))
	if iss := q.Get("iss"); iss != "" && iss != s.cfg.Issuer { // RFC 9207
		s.sorry(w, r, refused(reasonIssuer), a.Return)
		return
	}
	if q.Get("error") != "" {
		s.sorry(w, r, refused("the issuer refused: "+clean(q.Get("error")+" "+q.Get("error_description"))), a.Return)
		return
	}
	id, err := s.enter(r, a, q.Get("code"))
	if err != nil {
		s.sorry(w, r, err, a.Return)
		return
	}
	if old := r.CookiesNamed(s.cookie); len(old) > 0 {
		s.endByID(r.Context(), old[0].Value)
	}
	s.setCookie(w, s.cookie, id, s.cfg.Absolute)
	http.Redirect(w, r, a.Return, http.StatusSeeOther)
}

// enter changes a code for tokens, asks who it is, and begins a session; it returns the id that the browser will hold.
func (s *Service) enter(r *http.Request, a attempt, code string) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*issuerTimeout)
	defer cancel()
	k, err := s.issuer.get(ctx)
	if err != nil {
		return "", err
	}
	got, err := rp.CodeExchange[*oidc.IDTokenClaims](ctx, code, k.party, rp.WithCodeVerifier(a.Verifier))
	if err != nil {
		return "", exchangeFailed(err)
	}
	if !hmac.Equal([]byte(got.IDTokenClaims.Nonce), []byte(a.Nonce)) {
		return "", refused("the ID token is not for this sign-in")
	}
	said, err := s.ask(ctx, k, got.AccessToken, got.IDTokenClaims.Subject)
	if err != nil {
		return "", issuerAway(err)
	}
	p := person{issuer: s.cfg.Issuer, subject: got.IDTokenClaims.Subject}
	if err := s.seen(ctx, &p, said.name, said.email); err != nil {
		return "", err
	}
	id := random()
	hash := sha256.Sum256([]byte(id))
	t := tokens{}.renewed(got.Token, got.IDToken)
	sealed, err := s.seal(t, hash[:])
	if err != nil {
		return "", err
	}
	_, err = s.pool.Exec(ctx, `INSERT INTO sessions (hash, person_id, sid, roles, tokens, user_agent, address, refresh_at, idle, expires_at)
		VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7, $8, $9, now() + $10::interval)`, hash[:], p.id, clean(got.IDTokenClaims.SessionID), nonNil(said.roles), sealed,
		clean(r.UserAgent()), address(r), s.refreshAt(t), s.cfg.Idle, s.cfg.Absolute)
	if err != nil {
		return "", databaseAway(fmt.Errorf("begin a session: %w", err))
	}
	s.log.Info("signed in", "person", p.id, "address", address(r))
	return id, nil
}

// exchangeFailed tells a refused code from an issuer that is away.
func exchangeFailed(err error) error {
	var answered *oauth2.RetrieveError
	var failed *url.Error
	if errors.As(err, &failed) || errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode >= http.StatusInternalServerError {
		return issuerAway(plain(err))
	}
	e := refused("the issuer's answer can't be used; sign in again")
	e.cause = plain(err)
	return e
}

// whoami answers who is signed in, and with the CSRF token of the session.
func (s *Service) whoami(w http.ResponseWriter, r *http.Request) {
	who, err := s.Authenticate(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	answer := struct {
		Kind  string   `json:"kind"`
		Name  string   `json:"name"`
		Roles []string `json:"roles"` // held anywhere
		CSRF  string   `json:"csrf_token,omitempty"`
	}{Kind: string(who.Kind), Name: who.Name, Roles: []string{}}
	held := map[string]bool{}
	for _, g := range who.Grants {
		if !held[string(g.Role)] {
			answer.Roles = append(answer.Roles, string(g.Role))
		}
		held[string(g.Role)] = true
	}
	if who.Session != 0 {
		answer.CSRF = s.csrf(sha256.Sum256([]byte(r.CookiesNamed(s.cookie)[0].Value)))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

var page = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Signing in</title>
<h1>Signing in did not work</h1><p>{{.Reason}}</p><p><a href="/auth/login?return={{.Return}}">Try again</a></p></html>
`))

// sorry says on a page why signing in did not work.
func (s *Service) sorry(w http.ResponseWriter, r *http.Request, err error, back string) {
	var e *Error
	if !errors.As(err, &e) {
		e = databaseAway(err)
	}
	s.log.WarnContext(r.Context(), "signing in did not work", "code", e.Code, "error", e)
	status := e.Status
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden // there is nothing that the browser could send along
	}
	if status == http.StatusServiceUnavailable {
		e.Header(w.Header())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = page.Execute(w, map[string]string{"Reason": e.Reason, "Return": back})
}
