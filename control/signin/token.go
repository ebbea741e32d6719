package signin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const tokenBytesMax = 16 << 10

// accessTypes and logoutTypes are the values of a header's typ.
var (
	accessTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}
	logoutTypes = []string{"", "jwt", "logout+jwt", "application/logout+jwt"}
)

// accessToken checks a JWT access token. What the library's verifier leaves open stands around it.
func (s *Service) accessToken(ctx context.Context, token string) (*claims, error) {
	c, err := s.signed(ctx, token, accessTypes)
	if err != nil {
		return nil, err
	}
	if c.id == "" {
		return nil, refused(reasonTokenID)
	}
	if c.issuedAt.IsZero() {
		return nil, refused(reasonIssuedAt)
	}
	return c, s.forUs(c)
}

// forUs is what must hold of whatever says that somebody may call us, wherever it comes from.
func (s *Service) forUs(c *claims) error {
	now := s.cfg.Now()
	for _, check := range []struct {
		bad    bool
		reason string
	}{
		{c.issuer != "" && c.issuer != s.cfg.Issuer, reasonIssuer},
		{!c.expires.IsZero() && !now.Before(c.expires.Add(leeway)), reasonExpired},
		{c.notBefore.After(now.Add(leeway)), reasonNotYet},
		{c.issuedAt.After(now.Add(leeway)), reasonIssuedLater},
		{c.any("events"), reasonLogout},
		{c.any("nonce", "at_hash", "c_hash"), reasonIDToken},
		{c.any("act"), reasonActor},
		{c.any("cnf"), reasonBound},
		{c.subject == "" || len(c.subject) > 255, reasonSubject},
		{c.client == "", reasonClient},
		{!slices.Contains(c.audience, s.cfg.ProjectID), reasonAudience},
	} {
		if check.bad {
			return refused(check.reason)
		}
	}
	return nil
}

func (c *claims) any(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := c.has[name]; return ok })
}

// signed checks what every token of the issuer must be: well formed, of its type, signed, not expired.
func (s *Service) signed(ctx context.Context, token string, types []string) (*claims, error) {
	if len(token) > tokenBytesMax {
		return nil, refused(reasonSize)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, refused(reasonForm)
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, refused(reasonForm)
		}
	}
	if !headerOf(decoded[0], types) {
		return nil, refused(reasonHeader)
	}
	c, reason := parseClaims(decoded[1], s.cfg.ProjectID)
	if reason != "" {
		return nil, refused(reason)
	}
	if c.issuer != s.cfg.Issuer {
		return nil, refused(reasonIssuer)
	}
	k, err := s.issuer.get(ctx)
	if err != nil {
		return nil, err
	}
	verifier := op.NewAccessTokenVerifier(s.cfg.Issuer, k.keys, op.WithSupportedAccessTokenSigningAlgorithms(algorithms...))
	verifier.Offset = -leeway // the library adds it to its clock
	_, err = op.VerifyAccessToken[*oidc.AccessTokenClaims](ctx, token, verifier)
	return c, judged(err)
}

// headerOf says whether a header may be one of these types. crit and b64 change what a signature covers, and a token that is
// for us has no encryption or key of its own.
func headerOf(text []byte, types []string) bool {
	has, reason := members(text)
	if reason != "" {
		return false
	}
	for _, name := range []string{"crit", "b64", "enc", "zip", "jwk", "jku", "x5u"} {
		if _, ok := has[name]; ok {
			return false
		}
	}
	typ := ""
	if text, ok := has["typ"]; ok && (json.Unmarshal(text, &typ) != nil || bytes.Equal(text, []byte("null"))) {
		return false
	}
	return slices.Contains(types, strings.ToLower(typ))
}

// judged maps the library's errors.
func judged(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errKeysAway):
		return issuerAway(err)
	case errors.Is(err, oidc.ErrIssuerInvalid):
		return refused(reasonIssuer)
	case errors.Is(err, oidc.ErrSignatureUnsupportedAlg):
		return refused(reasonAlgorithm)
	case errors.Is(err, oidc.ErrSignatureInvalid), errors.Is(err, oidc.ErrSignatureInvalidPayload):
		return refused(reasonSignature)
	case errors.Is(err, oidc.ErrExpired):
		return refused(reasonExpired)
	case errors.Is(err, oidc.ErrParse):
		return refused(reasonForm)
	}
	return refused(reasonPayload)
}

// logoutToken checks a token of OpenID Connect Back-Channel Logout.
func (s *Service) logoutToken(ctx context.Context, token string) (*claims, error) {
	c, err := s.signed(ctx, token, logoutTypes)
	if err != nil {
		return nil, err
	}
	var events map[string]map[string]any
	if json.Unmarshal(c.has["events"], &events) != nil || events["http://schemas.openid.net/event/backchannel-logout"] == nil || c.any("nonce") {
		return nil, refused(reasonLogout)
	}
	now := s.cfg.Now()
	switch {
	case c.id == "":
		return nil, refused(reasonTokenID)
	case c.issuedAt.IsZero() || now.Sub(c.issuedAt) > logoutAge:
		return nil, refused(reasonIssuedAt)
	case c.issuedAt.After(now.Add(leeway)):
		return nil, refused(reasonIssuedLater)
	case c.subject == "" && c.session == "":
		return nil, refused(reasonSubject)
	case !slices.Contains(c.audience, s.cfg.ClientID):
		return nil, refused(reasonAudience)
	}
	return c, nil
}

// logoutAge is how old a log-out token may be.
const logoutAge = 10 * time.Minute
