package outgoing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Defaults of Config, and limits that are always the same.
const (
	timeoutDefault = 10 * time.Second
	bodyDefault    = 1 << 20
	headerMax      = 64 << 10
	idleMax        = 30 * time.Second
)

// Errors that callers may look for.
var (
	ErrRefused  = errors.New("this address may not be asked")
	ErrTooLarge = errors.New("the answer is too large")
)

// Config says what a client may do.
type Config struct {
	PrivateHosts []string      // name or name:port, as URLs have them, of hosts that may be private
	Timeout      time.Duration // of a request with its answer; 0: 10 s
	BodyMax      int64         // bytes of an answer; 0: 1 MiB
}

// Client sends requests to where it may.
type Client struct {
	http    *http.Client
	private map[string]bool
	bodyMax int64
}

// New returns a client.
func New(cfg Config) *Client {
	c := &Client{private: map[string]bool{}, bodyMax: cfg.BodyMax}
	for _, host := range cfg.PrivateHosts {
		c.private[strings.ToLower(strings.TrimSpace(host))] = true
	}
	if c.bodyMax == 0 {
		c.bodyMax = bodyDefault
	}
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = timeoutDefault
	}
	c.http = &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{DialContext: c.dial, ForceAttemptHTTP2: true, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			MaxResponseHeaderBytes: headerMax, IdleConnTimeout: idleMax, MaxIdleConnsPerHost: 2},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Do sends a request: over https, or over http to a named private host. The answer may be a redirect. Its body must be
// closed; reading beyond the limit gives ErrTooLarge.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	if err := c.check(r); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r) //nolint:gosec // where it may go is what this client checks
	if err != nil {
		if errors.Is(err, ErrRefused) {
			return nil, fmt.Errorf("%s %s://%s: %w", r.Method, r.URL.Scheme, r.URL.Host, ErrRefused)
		}
		return nil, quiet(err)
	}
	resp.Body = &limited{resp.Body, c.bodyMax}
	return resp, nil
}

func (c *Client) check(r *http.Request) error {
	name, port := strings.ToLower(r.URL.Hostname()), r.URL.Port()
	switch {
	case name == "" || r.URL.User != nil:
		return fmt.Errorf("a URL needs a host, and no user in it: %w", ErrRefused)
	case r.URL.Scheme == "https":
		return nil
	case r.URL.Scheme == "http" && c.named(name, port):
		return nil
	}
	return fmt.Errorf("%s is no https: %w", r.URL.Scheme, ErrRefused)
}

// named says whether operators allowed the host to be private.
func (c *Client) named(name, port string) bool {
	return c.private[name] || c.private[net.JoinHostPort(name, port)]
}

// dial connects, if the address that the name has is one that may be asked.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	may := global
	if c.named(strings.ToLower(name), port) {
		may = func(a netip.Addr) bool { return global(a) || private(a) }
	}
	d := net.Dialer{Timeout: c.http.Timeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !may(a.Addr()) {
			return ErrRefused
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// quiet takes from an error the address that a name has here, and who resolves names.
func quiet(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		told := *dns
		told.Server = ""
		return &told
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("connect: %w", op.Err)
	}
	return err
}

// limited is a body that ends with an error where it is too long.
type limited struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1] // one more says that there is more
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}
