package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// logout ends the session here, and sends the browser to the issuer to end its own there. A form may carry the CSRF token
// as csrf_token. Without a session there is nothing to end, and the browser goes home.
func (s *Service) logout(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(csrfHeader) == "" {
		r.Header.Set(csrfHeader, r.PostFormValue("csrf_token"))
	}
	who, err := s.Authenticate(r)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status != http.StatusUnauthorized:
		s.problem(w, r, err)
		return
	case err != nil || who.Session == 0:
		s.dropCookie(w, s.cookie)
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	t, err := s.endSession(r.Context(), who.Session)
	if err != nil {
		s.problem(w, r, databaseAway(err))
		return
	}
	s.dropCookie(w, s.cookie)
	s.log.Info("signed out", "person", who.ID)
	http.Redirect(w, r, s.endThere(r.Context(), t.ID), http.StatusSeeOther)
}

// endSession ends a session and gives the tokens that it held.
func (s *Service) endSession(ctx context.Context, session int64) (t tokens, err error) {
	var hash, sealed []byte
	err = s.pool.QueryRow(ctx, `WITH old AS (SELECT id, hash, tokens FROM sessions WHERE id = $1 FOR UPDATE)
		UPDATE sessions s SET ended_at = coalesce(s.ended_at, now()), tokens = '' FROM old WHERE s.id = old.id RETURNING old.hash, old.tokens`, session).Scan(&hash, &sealed)
	if err != nil {
		return t, fmt.Errorf("end the session: %w", err)
	}
	if t, err = s.unseal(sealed, hash); err != nil {
		s.log.Warn("the tokens of a session that ended can't be read", "session", session, "error", err)
	}
	return t, nil
}

// endByID ends the session that a browser had before it signed in again.
func (s *Service) endByID(ctx context.Context, id string) {
	hash := sha256.Sum256([]byte(id))
	if _, err := s.pool.Exec(ctx, `UPDATE sessions SET ended_at = now(), tokens = '' WHERE hash = $1 AND ended_at IS NULL`, hash[:]); err != nil {
		s.log.Warn("the session before was not ended", "error", err)
	}
}

// endThere is where the browser ends its session at the issuer. An issuer that is away, or has no such place, keeps it.
func (s *Service) endThere(ctx context.Context, idToken string) string {
	k, err := s.issuer.get(ctx)
	if err != nil || k.party.GetEndSessionEndpoint() == "" {
		return "/"
	}
	u, err := url.Parse(k.party.GetEndSessionEndpoint())
	if err != nil {
		return "/"
	}
	q := u.Query()
	q.Set("client_id", s.cfg.ClientID)
	q.Set("post_logout_redirect_uri", s.cfg.PublicURL+"/")
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// backchannel ends the sessions that the issuer says have ended: one of its own sessions, or all of a person's. Only those
// that were there when the token was issued, so that sending it again later ends nothing.
func (s *Service) backchannel(w http.ResponseWriter, r *http.Request) {
	c, err := s.logoutToken(r.Context(), r.PostFormValue("logout_token"))
	if err == nil {
		_, err = s.pool.Exec(r.Context(), `UPDATE sessions s SET ended_at = now(), tokens = '' FROM people p
			WHERE p.id = s.person_id AND p.issuer = $1 AND s.ended_at IS NULL AND s.created_at <= $2
				AND ($3 = '' OR p.subject = $3) AND ($4 = '' OR s.sid = $4)`, s.cfg.Issuer, c.issuedAt.Add(leeway), c.subject, c.session)
		if err != nil {
			err = databaseAway(fmt.Errorf("end sessions: %w", err))
		}
	}
	if err == nil {
		return
	}
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusServiceUnavailable {
		s.problem(w, r, err)
		return
	}
	s.log.WarnContext(r.Context(), "a back-channel log-out was refused", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": err.Error()})
}
