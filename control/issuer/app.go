package issuer

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// app is a client of the issuer: the cockpit itself, a command of this machine, or a registered program.
type app struct {
	id        string
	pick      string   // where people pick who they are
	redirects []string // exact
	globs     []string
	signOuts  []string
	secret    bool // it has one
	machine   bool // it is its own subject (client_credentials)
	opaque    bool // its access tokens
}

var _ op.HasRedirectGlobs = app{}

func (a app) GetID() string                        { return a.id }
func (a app) RedirectURIs() []string               { return a.redirects }
func (a app) PostLogoutRedirectURIs() []string     { return a.signOuts }
func (a app) RedirectURIGlobs() []string           { return a.globs }
func (a app) PostLogoutRedirectURIGlobs() []string { return a.globs }
func (a app) ResponseTypes() []oidc.ResponseType   { return []oidc.ResponseType{oidc.ResponseTypeCode} }
func (a app) LoginURL(id string) string            { return a.pick + "?id=" + id }
func (a app) IDTokenLifetime() time.Duration       { return time.Hour }
func (a app) DevMode() bool                        { return true } // http redirects
func (a app) IDTokenUserinfoClaimsAssertion() bool { return false }
func (a app) ClockSkew() time.Duration             { return 0 }
func (a app) IsScopeAllowed(string) bool           { return true }

func (a app) ApplicationType() op.ApplicationType {
	if a.secret {
		return op.ApplicationTypeWeb
	}
	return op.ApplicationTypeUserAgent
}

func (a app) AuthMethod() oidc.AuthMethod {
	if a.secret {
		return oidc.AuthMethodBasic
	}
	return oidc.AuthMethodNone
}

func (a app) GrantTypes() []oidc.GrantType {
	if a.machine {
		return []oidc.GrantType{oidc.GrantTypeClientCredentials}
	}
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

func (a app) AccessTokenType() op.AccessTokenType {
	if a.opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}

func (a app) RestrictAdditionalIdTokenScopes() func([]string) []string { return unchanged }

func (a app) RestrictAdditionalAccessTokenScopes() func([]string) []string { return unchanged }

func unchanged(scopes []string) []string { return scopes }

// GetClientByClientID implements op.OPStorage.
func (s *storage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	if id == ClientID {
		return app{id: id, pick: s.cfg.URL + "/pick", secret: true, redirects: []string{s.cfg.PublicURL + "/auth/callback"}, signOuts: []string{s.cfg.PublicURL + "/"}}, nil
	}
	clients, err := s.directory.clients(ctx)
	if err != nil {
		return nil, oidc.ErrServerError().WithParent(err)
	}
	for _, c := range clients {
		if c.id == id {
			a := app{id: id, pick: s.cfg.URL + "/pick"}
			for _, origin := range c.origins {
				a.globs = append(a.globs, origin+"/**")
			}
			return a, nil
		}
	}
	return nil, errors.New("there is no such client")
}

// AuthorizeClientIDSecret implements op.OPStorage.
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != ClientID || subtle.ConstantTimeCompare([]byte(secret), []byte(s.secret)) == 0 {
		return errors.New("wrong client or secret")
	}
	return nil
}

// ClientCredentials implements op.ClientCredentialsStorage: whoever has the service secret may be anybody. A client id that
// begins with opaque: gets a token of that kind. The token is the cockpit's own.
func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.service)) == 0 {
		return nil, errors.New("wrong secret")
	}
	subject, opaque := subjectOf(id)
	if _, err := s.directory.find(ctx, subject); err != nil {
		return nil, failure(err)
	}
	return app{id: ClientID, secret: true, machine: true, opaque: opaque}, nil
}

// failure is the protocol's name of an error.
func failure(err error) error {
	if errors.Is(err, errNobody) {
		return oidc.ErrInvalidRequest().WithDescription("%s", err.Error())
	}
	return oidc.ErrServerError().WithParent(err)
}
