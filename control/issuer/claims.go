package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// private are ZITADEL's claims of somebody.
func (p somebody) private() map[string]any {
	roles := p.vouched()
	return map[string]any{
		"urn:zitadel:iam:org:project:" + ProjectID + ":roles": roles,
		"urn:zitadel:iam:org:project:roles":                   roles,
		"urn:zitadel:iam:user:resourceowner:id":               p.organization,
		"urn:zitadel:iam:user:resourceowner:name":             p.domain,
		"urn:zitadel:iam:user:resourceowner:primary_domain":   p.domain,
	}
}

// GetPrivateClaimsFromRequest implements op.CanGetPrivateClaimsFromRequest: what is in JWT access tokens.
func (s *storage) GetPrivateClaimsFromRequest(ctx context.Context, r op.TokenRequest, _ []string) (map[string]any, error) {
	p, err := s.directory.find(ctx, r.GetSubject())
	if err != nil {
		return nil, failure(err)
	}
	return p.private(), nil
}

// GetPrivateClaimsFromScopes implements op.OPStorage.
func (s *storage) GetPrivateClaimsFromScopes(ctx context.Context, subject, _ string, _ []string) (map[string]any, error) {
	p, err := s.directory.find(ctx, subject)
	return p.private(), err
}

// SetUserinfoFromScopes implements op.OPStorage; SetUserinfoFromRequest does it.
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest: what is in ID tokens.
func (s *storage) SetUserinfoFromRequest(ctx context.Context, u *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	return s.describe(ctx, u, r.GetSubject())
}

// SetUserinfoFromToken implements op.OPStorage.
func (s *storage) SetUserinfoFromToken(ctx context.Context, u *oidc.UserInfo, token, subject, _ string) error {
	if _, err := granted(token); err != nil {
		return err
	}
	return s.describe(ctx, u, subject)
}

func (s *storage) describe(ctx context.Context, u *oidc.UserInfo, subject string) error {
	p, err := s.directory.find(ctx, subject)
	if err != nil {
		return failure(err)
	}
	u.Subject, u.Name, u.Email, u.EmailVerified, u.PreferredUsername = subject, p.name, p.email, true, p.email
	for name, value := range p.private() {
		u.AppendClaims(name, value)
	}
	return nil
}

// SetIntrospectionFromToken implements op.OPStorage.
func (s *storage) SetIntrospectionFromToken(ctx context.Context, answer *oidc.IntrospectionResponse, token, subject, _ string) error {
	g, err := granted(token)
	if err != nil {
		return err
	}
	p, err := s.directory.find(ctx, subject)
	if err != nil {
		return err
	}
	answer.Subject, answer.ClientID, answer.Scope, answer.TokenType, answer.JWTID = subject, g.Client, g.Scopes, oidc.BearerToken, token
	answer.Issuer, answer.Audience, answer.Expiration = s.cfg.URL, g.GetAudience(), oidc.FromTime(g.Until)
	answer.IssuedAt = oidc.FromTime(g.Until.Add(-s.cfg.TokensFor))
	answer.Name, answer.Email, answer.Username = p.name, p.email, p.email
	answer.Claims = p.private()
	return nil
}

// granted reads the id of an access token, which the provider found in a token of its own.
func granted(id string) (g grant, err error) {
	text, err := base64.RawURLEncoding.DecodeString(id)
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err == nil && time.Now().After(g.Until) {
		err = errors.New("expired")
	}
	return g, err
}
