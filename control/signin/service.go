package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says who issues, and who we are to the issuer.
type Config struct {
	Issuer       string
	ClientID     string // the cockpit's own application
	ClientSecret string // empty: a public client; then opaque tokens can't be asked about
	ProjectID    string // must be in a token's audience; roles are claimed under it
	Organization string // the platform's, at the issuer; empty: nobody is super admin
	PublicURL    string // where browsers reach us, without a path

	Idle     time.Duration // a session that is not used ends; default 2 h
	Absolute time.Duration // and every one ends; default 12 h
	Roles    time.Duration // how often the issuer is asked again; default 5 min

	Log *slog.Logger
	Now func() time.Time // default time.Now; of tokens: sessions have Postgres' clock
}

// leeway is by how much the issuer's clock may be another.
const leeway = 30 * time.Second

// Validate names every mistake.
func (c *Config) Validate() error {
	var errs []error
	for _, u := range []struct{ name, value string }{{"issuer", c.Issuer}, {"public URL", c.PublicURL}} {
		if err := safeURL(u.value); err != nil {
			errs = append(errs, fmt.Errorf("the %s %q %w", u.name, u.value, err))
		}
	}
	if u, err := url.Parse(c.PublicURL); err == nil && u.Path != "" {
		errs = append(errs, fmt.Errorf("the public URL %q must end with the host", c.PublicURL))
	}
	if c.ClientID == "" {
		errs = append(errs, errors.New("the client id is not set"))
	}
	if c.ProjectID == "" {
		errs = append(errs, errors.New("the project id is not set"))
	}
	if c.Idle < 0 || c.Absolute < 0 || c.Roles < 0 || c.Absolute > 0 && c.Idle > c.Absolute {
		errs = append(errs, errors.New("a session's times must not be negative, and idle not be longer than absolute"))
	}
	return errors.Join(errs...)
}

// safeURL refuses what would send tokens in the clear: only this machine is reached without TLS.
func safeURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("is no URL of a host")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("must be https (http is for this machine only)")
	}
	return nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && address.IsLoopback()
}

// ServiceKeys recognizes service keys (control/keys). It fails with collector.ErrUnauthenticated for a key that opens nothing.
type ServiceKeys interface {
	Authenticate(ctx context.Context, text string) (collector.Principal, error)
}

// Service recognizes callers. It is safe for concurrent use.
type Service struct {
	cfg     Config
	log     *slog.Logger
	pool    *pgxpool.Pool // cockpit_platform's
	keys    *secrets.Keys
	service ServiceKeys
	issuer  *provider
	asked   *introspections
	public  *url.URL
	cookie  string // the session's
}

// New makes the service. pool works as cockpit_platform. It reaches nobody yet: an issuer that is away holds up no start.
func New(cfg Config, pool *pgxpool.Pool, keys *secrets.Keys, service ServiceKeys) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	setDefault(&cfg.Idle, 2*time.Hour)
	setDefault(&cfg.Absolute, 12*time.Hour)
	setDefault(&cfg.Roles, 5*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Log, pool: pool, keys: keys, service: service, public: public, issuer: newProvider(cfg), asked: newIntrospections()}
	s.cookie = s.cookieName("cockpit")
	if !s.secure() {
		s.log.Warn("NOT FOR PRODUCTION: over plain http the session cookie has neither the __Host- prefix nor Secure", "public_url", cfg.PublicURL)
	}
	return s, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (s *Service) secure() bool { return s.public.Scheme == "https" }

// cookieName is bound to the host by its prefix; where there is no TLS, to the port, which browsers would ignore.
func (s *Service) cookieName(name string) string {
	if s.secure() {
		return "__Host-" + name
	}
	return name + "-" + s.public.Port()
}

func (s *Service) setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteLaxMode, MaxAge: int(age.Seconds())})
}

func (s *Service) dropCookie(w http.ResponseWriter, name string) {
	s.setCookie(w, name, "", -time.Second)
}

// address is where a request comes from.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
