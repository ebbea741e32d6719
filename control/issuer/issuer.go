// Package issuer is the OpenID provider of `cockpit dev`: it lets whoever asks be whoever they pick. It is for one machine
// and never for more.
//
// It says what ZITADEL would: the same scopes, the same claims of roles and organizations, JWT and opaque access tokens,
// refresh tokens, introspection, client credentials, the JWT profile, end of session. Who can be picked follows from the
// accounts in Postgres; a subject is a role and its place (account_admin@acme, section_admin@acme/copilot). The first time
// that an account is met without an organization at the issuer, it gets one. Viewers and section admins are the cockpit's own
// roles: whoever is picked as one is made one.
//
// Invariants: everything that is secret here is derived from dev's key file, and a token holds all that it needs, so tokens
// survive restarts at the same address. Only sign-ins under way are in memory. Programs other than the cockpit and its
// commands are the rows of clients, with their origins.
//
// Failures are those of the database, and are the protocol's server_error.
package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/secrets"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/cors"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What the cockpit is to this issuer.
const (
	ClientID     = "cockpit"
	ProjectID    = "cockpit-dev"
	Organization = "dev-platform"
)

// Config says where the issuer is.
type Config struct {
	URL       string // its own, with a path
	PublicURL string // the cockpit's
	Keys      *secrets.Keys
	Pool      *pgxpool.Pool // cockpit_platform's
	TokensFor time.Duration // how long access tokens are good; default 1 h
}

// Issuer is an OpenID provider.
type Issuer struct {
	cfg     Config
	storage *storage
	handler http.Handler
}

// New makes the issuer.
func New(cfg Config) (*Issuer, error) {
	at, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if cfg.TokensFor == 0 {
		cfg.TokensFor = time.Hour
	}
	signing, err := privateKey(cfg.Keys, "signing")
	if err != nil {
		return nil, err
	}
	user, err := privateKey(cfg.Keys, "service users")
	if err != nil {
		return nil, err
	}
	s := &storage{cfg: cfg, directory: directory{cfg.Pool, cfg.URL}, signing: signing, user: user, secret: secret(cfg.Keys, "client"), service: secret(cfg.Keys, "service"),
		attempts: map[string]*attempt{}, codes: map[string]string{}}
	s.crypto = op.NewAES256GCMCrypto([32]byte(cfg.Keys.Derive("issuer crypto", 32)), "dev")
	provider, err := op.NewProvider(&op.Config{CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true, SupportedScopes: nil,
		DefaultLogoutRedirectURI: cfg.PublicURL + "/"}, s, op.StaticIssuer(cfg.URL), op.WithAllowInsecure(), op.WithCrypto(s.crypto),
		op.WithCORSOptions(&cors.Options{AllowOriginVaryRequestFunc: s.allowedOrigin, AllowedMethods: []string{http.MethodGet, http.MethodPost},
			AllowedHeaders: []string{"Authorization", "Content-Type"}}))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("GET /pick", s.show)
	mux.HandleFunc("POST /pick", s.picked)
	return &Issuer{cfg, s, http.StripPrefix(at.Path, mux)}, nil
}

// ServeHTTP serves all below the URL's path.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.handler.ServeHTTP(w, r) }

// ClientSecret is the secret of the cockpit's own application.
func (i *Issuer) ClientSecret() string { return i.storage.secret }

// ServiceSecret lets a program of this machine be anybody: the client is the subject, and the grant client_credentials.
func (i *Issuer) ServiceSecret() string { return i.storage.service }

// UserKey signs assertions of the JWT profile for any subject, under the key id "dev".
func (i *Issuer) UserKey() *ecdsa.PrivateKey { return i.storage.user }

func secret(keys *secrets.Keys, name string) string {
	return hex.EncodeToString(keys.Derive("issuer secret "+name, 24))
}

func privateKey(keys *secrets.Keys, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), keys.Derive("issuer key "+name, 32))
	if err != nil {
		return nil, fmt.Errorf("issuer: derive a key: %w", err) // one key file in 2³²
	}
	return key, nil
}

// key is a key as the provider wants it: the private one to sign, the public one to publish.
type key struct {
	id    string
	value any
}

func (k key) ID() string                                  { return k.id }
func (k key) Key() any                                    { return k.value }
func (k key) Use() string                                 { return "sig" }
func (k key) Algorithm() jose.SignatureAlgorithm          { return jose.ES256 }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	return key{s.keyID(), s.signing}, nil
}

// KeySet implements op.AuthStorage.
func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{key{s.keyID(), &s.signing.PublicKey}}, nil
}

// SignatureAlgorithms implements op.AuthStorage.
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

// keyID differs between key files.
func (s *storage) keyID() string {
	hash := sha256.Sum256(s.signing.X.Bytes())
	return hex.EncodeToString(hash[:8])
}

// allowedOrigin says whether pages of an origin may call: the cockpit's, and those of registered clients.
func (s *storage) allowedOrigin(r *http.Request, origin string) (allowed bool, varyHeaders []string) {
	if origin == strings.TrimSuffix(s.cfg.PublicURL, "/") {
		return true, nil
	}
	clients, err := s.directory.clients(r.Context())
	return err == nil && slices.ContainsFunc(clients, func(c registered) bool { return slices.Contains(c.origins, origin) }), nil
}
