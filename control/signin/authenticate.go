package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/ingest/collector"
)

// bearerForm is RFC 6750's: nothing else is worth a question to the issuer.
var bearerForm = regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)

// Authenticate says who sends a request. It fails with *Error and nothing else. Where there is an Authorization header, a
// cookie counts for nothing, and so neither does a missing CSRF token.
func (s *Service) Authenticate(r *http.Request) (*access.Principal, error) {
	authorization := r.Header.Values("Authorization")
	cookies := r.CookiesNamed(s.cookie)
	switch {
	case len(authorization) > 1, len(authorization) == 0 && len(cookies) > 1:
		return nil, refused(reasonCredentials)
	case len(authorization) == 1:
		return s.bearer(r.Context(), authorization[0])
	case len(cookies) == 1:
		return s.session(r, cookies[0].Value)
	}
	return nil, refused(reasonNothing)
}

func (s *Service) bearer(ctx context.Context, header string) (*access.Principal, error) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil, refused(reasonScheme)
	}
	if len(token) > tokenBytesMax {
		return nil, refused(reasonSize)
	}
	if !bearerForm.MatchString(token) {
		return nil, refused(reasonForm)
	}
	if strings.HasPrefix(token, "ck_") {
		return s.serviceKey(ctx, token)
	}
	var c *claims
	var err error
	if strings.Contains(token, ".") && strings.Count(token, ".") < 4 { // five parts are an encrypted one: opaque to us
		c, err = s.accessToken(ctx, token)
	} else {
		c, err = s.opaqueToken(ctx, token)
	}
	if err != nil {
		return nil, err
	}
	return s.recognize(ctx, c)
}

func (s *Service) keyRefused(err error) error {
	if errors.Is(err, collector.ErrUnauthenticated) {
		return refused(reasonKey)
	}
	return databaseAway(fmt.Errorf("look up a service key: %w", err))
}
