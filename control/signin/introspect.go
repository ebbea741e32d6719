package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"golang.org/x/sync/singleflight"
)

const (
	introspectedFor  = 30 * time.Second // how long a revoked opaque token may still be taken for good
	introspectedMax  = 10_000           // answers kept
	introspectingMax = 16               // questions at a time: made-up tokens must not flood the issuer
)

// introspections keeps the issuer's answers by the token's SHA-256.
type introspections struct {
	flight singleflight.Group
	places chan struct{}
	mu     sync.Mutex
	known  map[[32]byte]introspected
}

// introspected is an answer: claims, or a refusal.
type introspected struct {
	claims *claims
	err    error
	until  time.Time
}

func newIntrospections() *introspections {
	return &introspections{places: make(chan struct{}, introspectingMax), known: map[[32]byte]introspected{}}
}

// opaqueToken asks the issuer about a token. What it said is kept; that it could not be reached is not.
func (s *Service) opaqueToken(ctx context.Context, token string) (*claims, error) {
	if s.cfg.ClientSecret == "" {
		return nil, refused(reasonOpaque)
	}
	if len(token) > tokenBytesMax {
		return nil, refused(reasonSize)
	}
	hash := sha256.Sum256([]byte(token))
	s.asked.mu.Lock()
	a, ok := s.asked.known[hash]
	s.asked.mu.Unlock()
	if !ok || !time.Now().Before(a.until) {
		flight := s.asked.flight.DoChan(string(hash[:]), func() (any, error) { return s.introspect(hash, token) })
		select {
		case f := <-flight:
			if f.Err != nil {
				return nil, f.Err
			}
			a = f.Val.(introspected)
		case <-ctx.Done():
			return nil, issuerAway(ctx.Err())
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	return a.claims, s.forUs(a.claims) // times go on while it is kept
}

func (s *Service) introspect(hash [32]byte, token string) (a introspected, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), issuerTimeout)
	defer cancel()
	select {
	case s.asked.places <- struct{}{}:
		defer func() { <-s.asked.places }()
	case <-ctx.Done():
		return a, issuerAway(errors.New("too many opaque tokens at a time"))
	}
	k, err := s.issuer.get(ctx)
	if err != nil {
		return a, err
	}
	if k.asks == nil {
		return a, refused(reasonOpaque)
	}
	answer, err := rs.Introspect[json.RawMessage](ctx, k.asks, token)
	if err != nil {
		return a, issuerAway(plain(err))
	}
	a = s.answered(answer)
	a.until = time.Now().Add(introspectedFor)
	s.asked.mu.Lock()
	defer s.asked.mu.Unlock()
	if len(s.asked.known) >= introspectedMax {
		clear(s.asked.known)
	}
	s.asked.known[hash] = a
	return a, nil
}

// answered reads an answer. Anything but active is a refusal.
func (s *Service) answered(answer json.RawMessage) introspected {
	c, reason := parseClaims(answer, s.cfg.ProjectID)
	if reason != "" {
		return introspected{err: refused(reason)}
	}
	var active bool
	if json.Unmarshal(c.has["active"], &active) != nil || !active {
		return introspected{err: refused(reasonInactive)}
	}
	return introspected{claims: c}
}
