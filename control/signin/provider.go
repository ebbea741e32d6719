package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	issuerTimeout  = 5 * time.Second  // of one request to the issuer
	issuerBytesMax = 1 << 20          // of its answer
	failedFor      = 2 * time.Second  // how long it is not tried again
	discoveredFor  = time.Hour        // how old what it says about itself may get
	keysFor        = 10 * time.Minute // how old its keys may get: a key that it withdrew is refused after that
	unknownFor     = 10 * time.Second // how often an unknown key is a reason to ask
)

// algorithms are those whose key a token can't bring along.
var algorithms = []string{"RS256", "ES256", "EdDSA", "PS256", "RS384", "RS512", "ES384", "ES512"}

// scopes are ZITADEL's: our project in the audience, the roles in it, the person's organization. Others ignore them.
func scopes(project string) []string {
	return []string{"openid", "profile", "email", "offline_access", "urn:zitadel:iam:org:project:id:" + project + ":aud",
		"urn:zitadel:iam:org:projects:roles", "urn:zitadel:iam:user:resourceowner"}
}

// provider is the issuer, as far as it is known. What it says about itself is asked for when it is first needed.
type provider struct {
	cfg    Config
	http   *http.Client
	flight singleflight.Group

	mu       sync.Mutex
	known    *known
	failure  error
	failedAt time.Time
}

// known is what discovery found. It is never changed.
type known struct {
	party rp.RelyingParty
	asks  rs.ResourceServer // nil: there is no introspection
	keys  *keySet
	at    time.Time
}

func newProvider(cfg Config) *provider {
	return &provider{cfg: cfg, http: &http.Client{Timeout: issuerTimeout, Transport: limited{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// limited reads no more of an answer than issuerBytesMax.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, issuerBytesMax), res.Body}
	}
	return res, err
}

// get gives what is known of the issuer, and asks it when nothing is. Old knowledge is made new behind the caller's back.
func (p *provider) get(ctx context.Context) (*known, error) {
	p.mu.Lock()
	k, failure, recent := p.known, p.failure, time.Since(p.failedAt) < failedFor
	p.mu.Unlock()
	if k != nil && (time.Since(k.at) < discoveredFor || recent) {
		return k, nil
	}
	if k == nil && recent {
		return nil, issuerAway(failure)
	}
	answer := p.flight.DoChan("", func() (any, error) { return p.discover() })
	if k != nil {
		return k, nil
	}
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, issuerAway(a.Err)
		}
		return a.Val.(*known), nil
	case <-ctx.Done():
		return nil, issuerAway(ctx.Err())
	}
}

func (p *provider) discover() (*known, error) {
	ctx, cancel := context.WithTimeout(context.Background(), issuerTimeout)
	defer cancel()
	k, err := p.ask(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failure, p.failedAt = plain(err), time.Now()
		return nil, p.failure
	}
	if p.known != nil && p.known.keys.url == k.keys.url {
		k.keys = p.known.keys
	}
	p.known = k
	return k, nil
}

func (p *provider) ask(ctx context.Context) (*known, error) {
	style := oauth2.AuthStyleInParams
	if p.cfg.ClientSecret != "" {
		style = oauth2.AuthStyleInHeader
	}
	party, err := rp.NewRelyingPartyOIDC(ctx, p.cfg.Issuer, p.cfg.ClientID, p.cfg.ClientSecret, p.cfg.PublicURL+"/auth/callback", scopes(p.cfg.ProjectID),
		rp.WithHTTPClient(p.http), rp.WithAuthStyle(style), // the nonce is compared by who knows it: refreshed tokens have none
		rp.WithVerifierOpts(rp.WithIssuedAtOffset(leeway), rp.WithSupportedSigningAlgorithms(algorithms...), rp.WithNonce(nil)))
	if err != nil {
		return nil, err
	}
	found, err := client.Discover(ctx, p.cfg.Issuer, p.http) // once more: the relying party keeps the keys' address to itself
	if err != nil {
		return nil, err
	}
	if found.JwksURI == "" {
		return nil, errors.New("the issuer's discovery document names no keys")
	}
	k := &known{party: party, at: time.Now(), keys: &keySet{url: found.JwksURI, http: p.http}}
	if p.cfg.ClientSecret != "" && found.IntrospectionEndpoint != "" {
		k.asks, err = rs.NewResourceServerClientCredentials(ctx, p.cfg.Issuer, p.cfg.ClientID, p.cfg.ClientSecret, rs.WithClient(p.http),
			rs.WithStaticEndpoints(found.TokenEndpoint, found.IntrospectionEndpoint))
	}
	return k, err
}

// plain is an error of a request to the issuer without its answer's body, which may hold tokens.
func plain(err error) error {
	var says *oidc.Error
	var refuses *oauth2.RetrieveError
	var failed *url.Error
	switch {
	case errors.As(err, &says):
		return fmt.Errorf("the issuer answered %s: %s", says.ErrorType, says.Description)
	case errors.As(err, &refuses):
		return fmt.Errorf("the issuer answered %s: %s", refuses.ErrorCode, refuses.ErrorDescription)
	case errors.As(err, &failed):
		return failed
	}
	for _, wrong := range []error{oidc.ErrIssuerInvalid, oidc.ErrAudience, oidc.ErrAzpMissing, oidc.ErrAzpInvalid, oidc.ErrSignatureUnsupportedAlg, oidc.ErrSignatureInvalid,
		oidc.ErrExpired, oidc.ErrIatMissing, oidc.ErrIatInFuture, oidc.ErrSubjectMissing, oidc.ErrAtHash, rp.ErrMissingIDToken, rp.ErrUserInfoSubNotMatching} {
		if errors.Is(err, wrong) {
			return wrong
		}
	}
	return errors.New("the issuer's answer is not what it should be")
}

// keySet are the issuer's keys. An unknown key is a reason to ask for them again, but not more often than every unknownFor.
type keySet struct {
	url    string
	http   *http.Client
	flight singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	at      time.Time // when keys came
	triedAt time.Time
	failure error // of the last try
}

var errKeysAway = errors.New("the issuer's keys can't be reached")

// VerifySignature implements oidc.KeySet. It fails with errKeysAway where a signature can't be judged.
func (s *keySet) VerifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	id, alg := oidc.GetKeyIDAndAlg(jws)
	s.mu.Lock()
	keys, at, age := s.keys, s.triedAt, time.Since(s.at)
	failure := s.failure
	s.mu.Unlock()
	key, err := oidc.FindMatchingKey(id, oidc.KeyUseSignature, alg, keys...)
	switch wait := unknownFor; {
	case err == nil && age > keysFor && time.Since(at) > unknownFor:
		s.flight.DoChan("", s.fetch)
	case err != nil:
		if failure != nil {
			wait = failedFor
		}
		if time.Since(at) > wait {
			keys, failure = s.wait(ctx)
			key, err = oidc.FindMatchingKey(id, oidc.KeyUseSignature, alg, keys...)
		}
		if err != nil && failure != nil {
			return nil, fmt.Errorf("%w: %w", errKeysAway, failure)
		}
	}
	if err != nil {
		return nil, err
	}
	return jws.Verify(&key)
}

// wait fetches the keys, or waits for who does, on a context that the caller can't end.
func (s *keySet) wait(ctx context.Context) ([]jose.JSONWebKey, error) {
	select {
	case a := <-s.flight.DoChan("", s.fetch):
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.([]jose.JSONWebKey), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *keySet) fetch() (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), issuerTimeout)
	defer cancel()
	keys, err := s.download(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.triedAt, s.failure = time.Now(), err
	if err == nil {
		s.keys, s.at = keys, s.triedAt
	}
	return keys, err
}

func (s *keySet) download(ctx context.Context) (keys []jose.JSONWebKey, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var set struct{ Keys []json.RawMessage }
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer's keys: %s", res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(text); err == nil && key.IsPublic() { // kinds that we don't know are for others
			keys = append(keys, key)
		}
	}
	return keys, nil
}
