package provisioning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alchemi/cockpit/internal/outgoing"
	"github.com/zitadel/oidc/v3/pkg/client/profile"
)

const (
	retryAfterMax = 10 * time.Minute // more than this, nobody is waited for
	tokenEarly    = 30 * time.Second // before its end, another token is asked for
	messageMax    = 200              // runes of what ZITADEL says, as a reason
)

// errAway says that an answer says nothing of what was asked: none came, or it is of a proxy, or ZITADEL can't now, or will
// not let the service user.
var errAway = errors.New("ZITADEL does not answer")

// answerError is an answer of ZITADEL that is no success: of its gRPC gateway, or of connect.
type answerError struct {
	Status  int
	Code    string // already_exists, not_found, failed_precondition, …
	Message string
	After   time.Duration // when to come again, if it says so
}

func (e *answerError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

// Is makes those away that are not about what was asked.
func (e *answerError) Is(target error) bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return target == errAway
	}
	return target == errAway && (e.Status >= http.StatusInternalServerError || e.Code == "")
}

func answered(err error, code string) bool {
	var e *answerError
	return errors.As(err, &e) && e.Code == code && !errors.Is(err, errAway)
}

func exists(err error) bool     { return answered(err, "already_exists") }
func absent(err error) bool     { return answered(err, "not_found") }
func unchanged(err error) bool  { return answered(err, "failed_precondition") }
func refusedBy(err error) bool  { return !errors.Is(err, errAway) && errors.As(err, new(*answerError)) }
func notSaid(what string) error { return fmt.Errorf("%w: %s", errAway, what) }

// codes are those of gRPC, by number.
var codes = []string{"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied", "resource_exhausted",
	"failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"}

// keyFile is a service user's key as ZITADEL gives it out.
type keyFile struct {
	KeyID  string `json:"keyId"`
	Key    string `json:"key"` // PEM
	UserID string `json:"userId"`
}

// remote calls ZITADEL as the service user.
type remote struct {
	url, issuer string
	key         *keyFile
	http        *outgoing.Client

	mu     sync.Mutex
	source profile.TokenSource
	token  string
	until  time.Time
}

// newRemote takes the JSON key file of a service user.
func newRemote(issuer, apiURL string, key []byte, privateHosts []string) (*remote, error) {
	if apiURL == "" {
		apiURL = issuer
	}
	u, err := url.Parse(apiURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("ZITADEL's URL must be https://host (http is for this machine only)")
	}
	file := &keyFile{}
	if err := json.Unmarshal(key, file); err != nil || file.UserID == "" || file.KeyID == "" || file.Key == "" {
		return nil, errors.New("this is no key file of a service user (JSON with userId, keyId and key)")
	}
	hosts := append([]string{u.Host}, privateHosts...) // operators named it: it may be their own network's
	if i, err := url.Parse(issuer); err == nil {
		hosts = append(hosts, i.Host)
	}
	return &remote{url: strings.TrimRight(apiURL, "/"), issuer: issuer, key: file, http: outgoing.New(outgoing.Config{PrivateHosts: hosts})}, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// RoundTrip lets libraries send their requests as everything is sent.
func (a *remote) RoundTrip(r *http.Request) (*http.Response, error) { return a.http.Do(r) }

// bearer is an access token of the service user.
func (a *remote) bearer(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Now().Before(a.until) {
		return a.token, nil
	}
	if a.source == nil {
		source, err := profile.NewJWTProfileTokenSource(ctx, a.issuer, a.key.UserID, a.key.KeyID, []byte(a.key.Key),
			[]string{"openid", "urn:zitadel:iam:org:project:id:zitadel:aud"}, profile.WithHTTPClient(&http.Client{Transport: a}))
		if err != nil {
			return "", notSaid("discovery: " + short(err.Error()))
		}
		a.source = source
	}
	t, err := a.source.TokenCtx(ctx)
	if err != nil {
		return "", notSaid("a token for the service user: " + short(err.Error()))
	}
	a.token, a.until = t.AccessToken, t.Expiry.Add(-tokenEarly)
	return a.token, nil
}

func (a *remote) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// call sends in and reads the answer into out; either may be nil.
func (a *remote) call(ctx context.Context, method, path string, in, out any) error {
	token, err := a.bearer(ctx)
	if err != nil {
		return err
	}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Connect-Protocol-Version", "1")
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return notSaid(short(err.Error()))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return notSaid("half an answer")
	}
	if resp.StatusCode == http.StatusUnauthorized {
		a.forget(token)
	}
	if resp.StatusCode/100 != 2 {
		return readError(resp, text)
	}
	if out == nil {
		out = &map[string]any{}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return notSaid("an answer that is no JSON")
	}
	return nil
}

// readError reads a failure. One without a code is of somebody in between: a 404 of a proxy says nothing of a user.
func readError(resp *http.Response, text []byte) error {
	var said struct {
		Code    json.RawMessage `json:"code"`
		Message string          `json:"message"`
	}
	e := &answerError{Status: resp.StatusCode}
	if json.Unmarshal(text, &said) == nil {
		var n int
		if json.Unmarshal(said.Code, &n) == nil && n > 0 && n < len(codes) {
			e.Code = codes[n]
		} else if json.Unmarshal(said.Code, &e.Code) != nil {
			e.Code = ""
		}
		e.Message = short(said.Message)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.After = min(time.Duration(seconds)*time.Second, retryAfterMax)
	}
	return e
}

// short is what somebody else wrote, as a reason.
func short(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > messageMax {
		text = string(runes[:messageMax])
	}
	return text
}
