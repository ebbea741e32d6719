package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	refreshFor  = 30 * 24 * time.Hour
	attemptFor  = 10 * time.Minute
	attemptsMax = 1000
)

// storage is what the provider works on.
type storage struct {
	cfg             Config
	directory       directory
	signing, user   *ecdsa.PrivateKey
	secret, service string
	crypto          op.Crypto

	mu       sync.Mutex
	attempts map[string]*attempt
	codes    map[string]string // to the attempt's id
}

var (
	_ op.Storage                        = (*storage)(nil)
	_ op.ClientCredentialsStorage       = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest      = (*storage)(nil)
	_ op.CanGetPrivateClaimsFromRequest = (*storage)(nil)
	_ op.JWTProfileTokenStorage         = (*storage)(nil)
)

// attempt is a sign-in under way. After it, request is what a token is made from.
type attempt struct {
	oidc.AuthRequest
	id, subject string
	at          time.Time
}

func (a *attempt) GetID() string                      { return a.id }
func (a *attempt) GetACR() string                     { return "" }
func (a *attempt) GetAMR() []string                   { return nil }
func (a *attempt) GetAudience() []string              { return []string{a.ClientID, ProjectID} }
func (a *attempt) GetAuthTime() time.Time             { return a.at }
func (a *attempt) GetClientID() string                { return a.ClientID }
func (a *attempt) GetNonce() string                   { return a.Nonce }
func (a *attempt) GetRedirectURI() string             { return a.RedirectURI }
func (a *attempt) GetResponseType() oidc.ResponseType { return a.ResponseType }
func (a *attempt) GetResponseMode() oidc.ResponseMode { return a.ResponseMode }
func (a *attempt) GetScopes() []string                { return a.Scopes }
func (a *attempt) GetState() string                   { return a.State }
func (a *attempt) GetSubject() string                 { return a.subject }
func (a *attempt) Done() bool                         { return a.subject != "" }

func (a *attempt) GetCodeChallenge() *oidc.CodeChallenge {
	if a.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: a.CodeChallenge, Method: a.CodeChallengeMethod}
}

// grant is what a token of ours holds: a refresh token is one, sealed, and an access token's id is one, readable.
type grant struct {
	ID      string    `json:"i"`
	Subject string    `json:"u,omitempty"` // of a refresh token
	Client  string    `json:"c"`
	Scopes  []string  `json:"s"`
	Until   time.Time `json:"t"`
}

var _ op.RefreshTokenRequest = (*grant)(nil)

func (g *grant) GetAMR() []string                 { return nil }
func (g *grant) GetAudience() []string            { return []string{g.Client, ProjectID} }
func (g *grant) GetAuthTime() time.Time           { return time.Time{} }
func (g *grant) GetClientID() string              { return g.Client }
func (g *grant) GetScopes() []string              { return g.Scopes }
func (g *grant) GetSubject() string               { return g.Subject }
func (g *grant) SetCurrentScopes(scopes []string) { g.Scopes = scopes }

func (s *storage) CreateAuthRequest(_ context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(r.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired()
	}
	a := &attempt{AuthRequest: *r, id: rand.Text(), at: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, old := range s.attempts {
		if time.Since(old.at) > attemptFor || len(s.attempts) >= attemptsMax {
			delete(s.attempts, id)
		}
	}
	s.attempts[a.id] = a
	return a, nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.attempts[id]
	if !ok || time.Since(a.at) > attemptFor {
		return nil, errors.New("there is no such sign-in, or it took too long")
	}
	copied := *a
	return &copied, nil
}

// pick says who somebody is who signs in.
func (s *storage) pick(id, subject string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.attempts[id]
	if !ok {
		return errors.New("there is no such sign-in, or it took too long")
	}
	a.subject = subject
	return nil
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

// AuthRequestByCode gives the sign-in of a code, once.
func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	id, ok := s.codes[code]
	delete(s.codes, code)
	s.mu.Unlock()
	if !ok {
		return nil, errors.New("there is no such code")
	}
	return s.AuthRequestByID(ctx, id)
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, id)
	return nil
}

// CreateAccessToken makes the id of an access token.
func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	if assertion, ok := r.(*oidc.JWTTokenRequest); ok { // it names whom the assertion was for, which is us
		assertion.Audience = []string{ProjectID}
	}
	g := grant{ID: rand.Text(), Client: clientOf(r), Scopes: r.GetScopes(), Until: time.Now().Add(s.cfg.TokensFor).Truncate(time.Second)}
	text, err := json.Marshal(g)
	return base64.RawURLEncoding.EncodeToString(text), g.Until, err
}

// CreateAccessAndRefreshTokens makes both; the refresh token that was used stays good.
func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, _ string) (access, refresh string, until time.Time, err error) {
	if access, until, err = s.CreateAccessToken(ctx, r); err != nil {
		return "", "", until, err
	}
	text, err := json.Marshal(grant{ID: rand.Text(), Subject: r.GetSubject(), Client: clientOf(r), Scopes: r.GetScopes(), Until: time.Now().Add(refreshFor)})
	if err == nil {
		refresh, err = s.crypto.Encrypt("refresh " + string(text))
	}
	return access, refresh, until, err
}

func clientOf(r op.TokenRequest) string {
	if c, ok := r.(interface{ GetClientID() string }); ok {
		return c.GetClientID()
	}
	return r.GetSubject()
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	text, err := s.crypto.Decrypt(token)
	text, ok := strings.CutPrefix(text, "refresh ")
	g := &grant{}
	if err != nil || !ok || json.Unmarshal([]byte(text), g) != nil || time.Now().After(g.Until) {
		return nil, op.ErrInvalidRefreshToken
	}
	return g, nil
}

func (s *storage) GetRefreshTokenInfo(ctx context.Context, _, token string) (string, string, error) {
	r, err := s.TokenRequestByRefreshToken(ctx, token)
	if err != nil {
		return "", "", err
	}
	return r.GetSubject(), token, nil
}

// TerminateSession has nothing to end: the issuer keeps nobody signed in.
func (s *storage) TerminateSession(context.Context, string, string) error { return nil }

// RevokeToken can't: tokens are good until they expire.
func (s *storage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return oidc.ErrInvalidRequest().WithDescription("this issuer revokes no tokens")
}

// service is a machine that asks for a token of its own.
type service struct {
	client, subject string
	scopes          []string
}

func (s service) GetSubject() string    { return s.subject }
func (s service) GetAudience() []string { return []string{ClientID, ProjectID} }
func (s service) GetScopes() []string   { return s.scopes }
func (s service) GetClientID() string   { return s.client }

// subjectOf reads the client id of a machine.
func subjectOf(client string) (subject string, opaque bool) {
	return strings.CutPrefix(client, "opaque:")
}

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage.
func (s *storage) ClientCredentialsTokenRequest(ctx context.Context, client string, scopes []string) (op.TokenRequest, error) {
	subject, _ := subjectOf(client)
	p, err := s.directory.find(ctx, subject)
	if err == nil {
		err = s.directory.admit(ctx, p)
	}
	if err != nil {
		return nil, failure(err)
	}
	return service{ClientID, p.subject(), scopes}, nil
}

// GetKeyByIDAndClientID is the key of every subject's assertions.
func (s *storage) GetKeyByIDAndClientID(ctx context.Context, id, subject string) (*jose.JSONWebKey, error) {
	if _, err := s.directory.find(ctx, subject); err != nil || id != "dev" {
		return nil, errors.Join(err, errNobody)
	}
	return &jose.JSONWebKey{KeyID: id, Key: &s.user.PublicKey, Algorithm: string(jose.ES256), Use: "sig"}, nil
}

func (s *storage) ValidateJWTProfileScopes(_ context.Context, _ string, scopes []string) ([]string, error) {
	return scopes, nil
}

// JWTProfileTokenType implements op.JWTProfileTokenStorage.
func (s *storage) JWTProfileTokenType(context.Context, op.TokenRequest) (op.AccessTokenType, error) {
	return op.AccessTokenTypeJWT, nil
}

// Health implements op.Storage.
func (s *storage) Health(ctx context.Context) error { return s.directory.pool.Ping(ctx) }
