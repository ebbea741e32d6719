package signin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/pause"
)

// csrfHeader carries what GET /auth/session gave.
const csrfHeader = "X-CSRF-Token"

// random is 256 bits in base64url.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// session recognizes the person of a session. Roles that are due are asked for again first.
func (s *Service) session(r *http.Request, id string) (*access.Principal, error) {
	hash := sha256.Sum256([]byte(id))
	if err := s.proves(r, hash); err != nil {
		return nil, err
	}
	ctx := r.Context()
	who, due, err := s.lookSession(ctx, hash)
	if err != nil || !due {
		return who, err
	}
	if !s.refresh(ctx, who.Session) {
		return who, nil
	}
	who, _, err = s.lookSession(ctx, hash)
	return who, err
}

func (s *Service) lookSession(ctx context.Context, hash [32]byte) (who *access.Principal, due bool, err error) {
	var p person
	var roles access.Claims
	var session int64
	var unseen bool
	err = s.pool.QueryRow(ctx, `SELECT `+gathered(`s.roles`)+`, p.issuer, p.subject, s.id, s.roles, s.refresh_at <= now(), s.seen_at < now() - interval '1 minute'
		FROM sessions s JOIN people p ON p.id = s.person_id
		WHERE s.hash = $1 AND p.issuer = $2 AND `+Open, hash[:], s.cfg.Issuer).Scan(append(p.fields(), &p.issuer, &p.subject, &session, &roles, &due, &unseen)...)
	if isNone(err) {
		return nil, false, refused(reasonSession)
	}
	if err != nil {
		return nil, false, databaseAway(fmt.Errorf("look up the session: %w", err))
	}
	if p.state != "active" {
		return nil, false, refused(reasonPersonOff)
	}
	if unseen {
		_, err = s.pool.Exec(ctx, `WITH p AS (UPDATE people SET last_seen_at = now(), seen = true WHERE id = $2) UPDATE sessions SET seen_at = now() WHERE id = $1`, session, p.id)
		if err != nil {
			return nil, false, databaseAway(fmt.Errorf("write down the caller: %w", err))
		}
	}
	who = s.principal(&p, roles)
	who.Session = session
	return who, due, nil
}

// proves checks that a request with a cookie that would change something was made by our own pages.
func (s *Service) proves(r *http.Request, hash [32]byte) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	if !s.ownOrigin(r) {
		return refused(reasonOrigin)
	}
	token, err := base64.RawURLEncoding.DecodeString(r.Header.Get(csrfHeader))
	if err != nil {
		return refused(reasonCSRF)
	}
	for _, key := range s.keys.DeriveAll("signin csrf", 32) {
		if hmac.Equal(token, tag(key, hash)) {
			return nil
		}
	}
	return refused(reasonCSRF)
}

// ownOrigin says whether a browser made the request for a page of ours. Browsers send at least one of the two headers.
func (s *Service) ownOrigin(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		return origin == s.public.Scheme+"://"+s.public.Host
	}
	return site != ""
}

func (s *Service) csrf(hash [32]byte) string {
	return base64.RawURLEncoding.EncodeToString(tag(s.keys.Derive("signin csrf", 32), hash))
}

func tag(key []byte, hash [32]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(hash[:])
	return m.Sum(nil)
}

// Open is what holds in SQL of a row of sessions that has not ended. Whoever sets ended_at ends it from the next request on.
const Open = `ended_at IS NULL AND expires_at > now() AND seen_at > now() - idle`

// Run removes sessions a day after their end, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		if _, err := s.pool.Exec(ctx, `DELETE FROM sessions WHERE coalesce(ended_at, expires_at) < now() - interval '1 day'`); err != nil && ctx.Err() == nil {
			s.log.Warn("old sessions were not removed", "error", err)
		}
		if !pause.For(ctx, 10*time.Minute) {
			return nil
		}
	}
}
