package outgoing

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		address         string
		global, private bool
	}{
		{"8.8.8.8", true, true}, {"1.1.1.1", true, true}, {"100.63.255.255", true, true}, {"100.128.0.0", true, true}, {"172.15.255.255", true, true}, {"172.32.0.0", true, true},
		{"168.63.129.15", true, true}, {"223.255.255.255", true, true}, {"2606:4700::1111", true, true}, {"2a00:1450:4001::1", true, true}, {"2001:4860:4860::8888", true, true}, {"2003::1", true, true},
		{"10.0.0.1", false, true}, {"127.0.0.1", false, true}, {"127.255.255.254", false, true}, {"172.16.0.1", false, true}, {"172.31.255.255", false, true}, {"192.168.1.1", false, true},
		{"100.64.0.1", false, true}, {"198.18.0.1", false, true}, {"192.0.2.1", false, true}, {"198.51.100.1", false, true}, {"203.0.113.1", false, true}, {"192.0.0.8", false, true},
		{"192.88.99.1", false, true}, {"::1", false, true}, {"fc00::1", false, true}, {"fd12:3456::1", false, true}, {"2001:db8::1", false, true}, {"3fff::1", false, true}, {"100::1", false, true}, {"5f00::1", false, true},
		{"0.0.0.0", false, false}, {"0.1.2.3", false, false}, {"169.254.169.254", false, false}, {"169.254.0.1", false, false}, {"168.63.129.16", false, false}, {"100.100.100.200", false, false},
		{"224.0.0.1", false, false}, {"239.1.1.1", false, false}, {"255.255.255.255", false, false}, {"::", false, false}, {"fe80::1", false, false}, {"febf::1", false, false}, {"ff02::1", false, false},
		{"fd00:ec2::254", false, false}, {"fd20:ce::254", false, false}, {"64:ff9b::8.8.8.8", false, false}, {"64:ff9b::10.0.0.1", false, false}, {"64:ff9b:1::1", false, false}, {"2002:a00:1::", false, false}, {"2002:808:808::1", false, false},
		{"2001:0:4136:e378::1", false, false}, {"::ffff:8.8.8.8", false, false}, {"::ffff:127.0.0.1", false, false}, {"::ffff:169.254.169.254", false, false}, {"fe80::1%eth0", false, false}, {"2606:4700::1111%eth0", false, false},
	} {
		a := netip.MustParseAddr(c.address)
		if global(a) != c.global || private(a) != c.private {
			t.Errorf("%s: global %v, private %v", c.address, global(a), private(a))
		}
	}
	if global(netip.Addr{}) || private(netip.Addr{}) {
		t.Error("no address at all is one")
	}
}

// What the standard library knows to be somebody's own is never one of the world's.
func TestGlobalIsNothingThatIsLocal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(r, "4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(r, "bytes")))
		} else {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "bytes")))
		}
		local := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsGlobalUnicast() || a.Is4In6()
		if local && global(a) {
			r.Errorf("%v is local and global", a)
		}
	})
}

// target is a server on this machine that counts who came.
func target(t *testing.T, answer http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	came := &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, came
}

func get(t *testing.T, c *Client, url string) (status int, text string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	s, came := target(t, ok)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	t.Cleanup(secure.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := New(Config{})
	for _, url := range []string{s.URL, secure.URL, "https://localhost:" + port, "https://127.0.0.1:" + port, "https://127.1:" + port, "https://2130706433:" + port, "https://0x7f000001:" + port,
		"https://[::1]:" + port, "https://[::ffff:127.0.0.1]:" + port, "https://0.0.0.0:" + port, "https://[::]:" + port, "https://169.254.169.254/latest/meta-data", "https://168.63.129.16/",
		"https://user:password@example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:" + port, "https:///path", "http://example.com/", "https://LOCALHOST:" + port, "https://localhost.:" + port} {
		_, _, err := get(t, c, url)
		var dns *net.DNSError
		if !errors.Is(err, ErrRefused) && !errors.As(err, &dns) { // a resolver may not know odd spellings of an address
			t.Errorf("%s: %v", url, err)
		}
	}
	if came.Load() > 0 {
		t.Errorf("%d requests came through", came.Load())
	}
}

// A host that is named is reached, under that name and port alone.
func TestNamedHosts(t *testing.T) {
	t.Parallel()
	s, came := target(t, ok)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, c := range []struct {
		hosts   []string
		url     string
		reached bool
	}{
		{[]string{"127.0.0.1"}, s.URL, true}, {[]string{"127.0.0.1:" + port}, s.URL, true}, {[]string{" LocalHost "}, "http://localhost:" + port, true}, {[]string{"localhost"}, "http://LOCALHOST:" + port, true},
		{[]string{"127.0.0.1:1"}, s.URL, false}, {[]string{"localhost"}, s.URL, false}, {[]string{"example.com"}, s.URL, false}, {[]string{""}, s.URL, false}, {[]string{"0.0.0.0"}, "http://0.0.0.0:" + port, false},
		{[]string{"169.254.169.254"}, "http://169.254.169.254/", false}, {[]string{"[::1]"}, "http://localhost:" + port, false},
	} {
		before := came.Load()
		_, text, err := get(t, New(Config{PrivateHosts: c.hosts, Timeout: 5 * time.Second}), c.url)
		if reached := err == nil && text == "ok" && came.Load() == before+1; reached != c.reached || !reached && !errors.Is(err, ErrRefused) {
			t.Errorf("%q asks %s: %q, %v", c.hosts, c.url, text, err)
		}
	}
}

// A redirect is an answer: where it leads to is not asked.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	s, came := target(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	status, _, err := get(t, New(Config{PrivateHosts: []string{"127.0.0.1"}}), s.URL)
	if err != nil || status != http.StatusFound || came.Load() != 1 {
		t.Errorf("%d, %v, %d requests", status, err, came.Load())
	}
}

func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	proxy, came := target(t, ok)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	c := New(Config{PrivateHosts: []string{"nowhere.invalid"}})
	for _, url := range []string{"https://nowhere.invalid/", "http://nowhere.invalid/"} {
		if _, _, err := get(t, c, url); err == nil || came.Load() > 0 {
			t.Errorf("%s: %v, %d requests at the proxy", url, err, came.Load())
		}
	}
}

func TestAnswersHaveLimits(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for _, c := range []struct {
		size int
		fits bool
	}{{0, true}, {limit - 1, true}, {limit, true}, {limit + 1, false}, {1 << 20, false}} {
		s, _ := target(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", c.size)) })
		_, text, err := get(t, New(Config{PrivateHosts: []string{"127.0.0.1"}, BodyMax: limit}), s.URL)
		if c.fits && (err != nil || len(text) != c.size) || !c.fits && (!errors.Is(err, ErrTooLarge) || len(text) != limit) {
			t.Errorf("%d bytes: got %d, %v", c.size, len(text), err)
		}
	}
	s, _ := target(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", headerMax+1)) })
	if _, _, err := get(t, New(Config{PrivateHosts: []string{"127.0.0.1"}}), s.URL); err == nil {
		t.Error("a header without bounds was read")
	}
}

func TestSlowAnswersEnd(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	s, _ := target(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-never:
		case <-r.Context().Done():
		}
	})
	_, _, err := get(t, New(Config{PrivateHosts: []string{"127.0.0.1"}, Timeout: 200 * time.Millisecond}), s.URL)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v", err)
	}
}

// An error does not tell the address that a name has.
func TestErrorsTellNoAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	for _, c := range []*Client{New(Config{}), New(Config{PrivateHosts: []string{"localhost"}})} {
		_, _, err := get(t, c, "https://localhost:"+port)
		var u *url.Error
		if err == nil || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "::1") || errors.As(err, &u) {
			t.Errorf("got %v", err)
		}
	}
}
