package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

const (
	refreshWait  = 2 * time.Second  // how long a request waits for the issuer before it goes on with what was said last
	refreshAgain = 30 * time.Second // how long the next try is away, when this one does not succeed
	refreshLimit = 15 * time.Second // of all that one try does
	refreshLeast = 10 * time.Second // between two
	unsaid       = 5 * time.Minute  // how long a token is taken for good whose issuer does not say it
)

// tokens are what a session holds, sealed.
type tokens struct {
	Access  string    `json:"access"`
	Refresh string    `json:"refresh,omitempty"`
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"` // of the access token
}

func (s *Service) seal(t tokens, hash []byte) ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return s.keys.Seal(text, fmt.Sprintf("session %x", hash))
}

func (s *Service) unseal(sealed, hash []byte) (t tokens, err error) {
	text, err := s.keys.Open(sealed, fmt.Sprintf("session %x", hash))
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	return t, err
}

// userinfo is an answer of the userinfo endpoint.
type userinfo struct{ text json.RawMessage }

// UnmarshalJSON keeps the text: parseClaims reads it.
func (u *userinfo) UnmarshalJSON(text []byte) error { return u.text.UnmarshalJSON(text) }

// GetSubject implements rp.SubjectGetter.
func (u *userinfo) GetSubject() string {
	var said struct{ Sub string }
	_ = json.Unmarshal(u.text, &said)
	return said.Sub
}

// ask asks the issuer who a person is, and what roles it has now.
func (s *Service) ask(ctx context.Context, k *known, access, subject string) (*claims, error) {
	answer, err := rp.Userinfo[*userinfo](ctx, access, "Bearer", subject, k.party)
	if err != nil {
		return nil, plain(err)
	}
	c, reason := parseClaims(answer.text, s.cfg.ProjectID)
	if reason != "" {
		return nil, errors.New("userinfo: " + reason)
	}
	return c, nil
}

// refresh asks the issuer again about a session, unless another request or process does. It says whether anything changed.
// It goes on when the request ends, and the request goes on when it takes long.
func (s *Service) refresh(ctx context.Context, session int64) (changed bool) {
	var hash, sealed []byte
	var subject string
	err := s.pool.QueryRow(ctx, `UPDATE sessions s SET refresh_at = now() + $2::interval FROM people p
		WHERE s.id = $1 AND p.id = s.person_id AND s.refresh_at <= now() AND s.ended_at IS NULL RETURNING s.hash, s.tokens, p.subject`,
		session, refreshAgain).Scan(&hash, &sealed, &subject)
	if isNone(err) {
		return false
	}
	done := make(chan error, 1)
	if err == nil {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), refreshLimit)
			defer cancel()
			err := s.renew(ctx, session, hash, sealed, subject)
			if err != nil {
				s.log.Warn("a session goes on with what the issuer said last", "session", session, "error", err)
			}
			done <- err
		}()
	} else {
		done <- err
	}
	select {
	case err := <-done:
		return err == nil
	case <-ctx.Done():
	case <-time.After(refreshWait):
	}
	return false
}

// renew gets new tokens where the old ones are over, and the person's roles. A new refresh token is kept before anything
// else happens: the old one is void. It ends the session when the issuer refuses, and fails when it is away.
func (s *Service) renew(ctx context.Context, session int64, hash, sealed []byte, subject string) error {
	t, err := s.unseal(sealed, hash)
	if err != nil {
		return s.end(ctx, session, "its tokens can't be read: "+err.Error())
	}
	k, err := s.issuer.get(ctx)
	if err != nil {
		return err
	}
	if time.Until(t.Expires) < leeway {
		if t.Refresh == "" {
			return s.end(ctx, session, "the issuer gave no refresh token")
		}
		fresh, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, k.party, t.Refresh, "", "")
		if refusal(err) {
			return s.end(ctx, session, plain(err).Error())
		}
		if err != nil {
			return plain(err)
		}
		if fresh.IDTokenClaims != nil && fresh.IDTokenClaims.Subject != subject {
			return s.end(ctx, session, "the issuer answered for somebody else")
		}
		t = t.renewed(fresh.Token, fresh.IDToken)
		if sealed, err = s.seal(t, hash); err != nil {
			return err
		}
		if _, err := s.pool.Exec(ctx, `UPDATE sessions SET tokens = $2 WHERE id = $1 AND ended_at IS NULL`, session, sealed); err != nil {
			return fmt.Errorf("keep a session's tokens: %w", err)
		}
	}
	said, err := s.ask(ctx, k, t.Access, subject)
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, `UPDATE sessions SET roles = $2, refresh_at = $3 WHERE id = $1 AND ended_at IS NULL`, session, nonNil(said.roles), s.refreshAt(t))
	return err
}

// renewed are the tokens after a refresh; what did not come new stays.
func (t tokens) renewed(fresh *oauth2.Token, id string) tokens {
	t.Access, t.Expires = fresh.AccessToken, fresh.Expiry
	if t.Expires.IsZero() {
		t.Expires = time.Now().Add(unsaid)
	}
	if fresh.RefreshToken != "" {
		t.Refresh = fresh.RefreshToken
	}
	if id != "" {
		t.ID = id
	}
	return t
}

// refreshAt is when the issuer is to be asked again: every cfg.Roles, sooner when the token ends, and not all the time.
func (s *Service) refreshAt(t tokens) time.Time {
	now := time.Now()
	in := min(s.cfg.Roles, t.Expires.Add(-leeway).Sub(now))
	return now.Add(max(in, refreshLeast))
}

// refusal says whether the issuer will not renew a session, however often it is asked.
func refusal(err error) bool {
	var says *oidc.Error
	return errors.As(err, &says) && says.ErrorType == oidc.InvalidGrant
}

func (s *Service) end(ctx context.Context, session int64, why string) error {
	s.log.Info("a session ended", "session", session, "why", why)
	_, err := s.pool.Exec(ctx, `UPDATE sessions SET ended_at = now(), tokens = '' WHERE id = $1 AND ended_at IS NULL`, session)
	return err
}
