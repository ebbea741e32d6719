package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/issuer"
	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/control/signin"
	"github.com/gin-gonic/gin"
)

const (
	callers      = 16 // connections
	callsOfRound = 10_000
)

// authenticated compares a read of one account, with a JWT that is checked and everything that is looked up anew at each
// request (person, roles, client, account), with a Gin handler that answers a constant of the same length.
func authenticated(ctx context.Context, r *runner) (gate, error) {
	c, err := r.control(ctx, everybody{})
	if err != nil {
		return gate{}, err
	}
	token, err := c.signIn(ctx)
	if err != nil {
		c.close()
		return gate{}, err
	}
	const path = "/v1/accounts/key:account-1"
	constant, err := call(ctx, c.server.Client(), c.server.URL+path, token)
	if err != nil {
		c.close()
		return gate{}, err
	}
	gin.SetMode(gin.ReleaseMode)
	noop := gin.New()
	noop.GET("/v1/accounts/:account", func(g *gin.Context) { g.Data(http.StatusOK, "application/json", constant) })
	plain := httptest.NewServer(noop)
	measured := func(server *httptest.Server) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) { return load(ctx, server.URL+path, token) }
	}
	return gate{measures: []measure{{what: "p50", unit: "ms", atMost: true}, {what: "requests", unit: "1/s"}}, baseline: measured(plain), ours: measured(c.server),
		close:    func() { plain.Close(); c.close() },
		settings: fmt.Sprintf("GET of an account, %d requests over %d connections, server and clients in one process; baseline: Gin, a constant", callsOfRound, callers)}, nil
}

// signIn puts real signing in before the API, with dev's issuer, and returns a token of account-1's admin.
func (c *controlled) signIn(ctx context.Context) (token string, err error) {
	dir, err := os.MkdirTemp("", "cockpit-bench-keys-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "keys.json")
	if err := secrets.Create(file); err != nil {
		return "", err
	}
	own, err := secrets.Load(file)
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	provider, err := issuer.New(issuer.Config{URL: server.URL + "/issuer", PublicURL: server.URL, Keys: own, Pool: c.stores.Platform})
	if err != nil {
		return "", err
	}
	log := slog.New(slog.DiscardHandler)
	people, err := signin.New(signin.Config{Issuer: server.URL + "/issuer", ClientID: issuer.ClientID, ClientSecret: provider.ClientSecret(), ProjectID: issuer.ProjectID,
		Organization: issuer.Organization, PublicURL: server.URL, Log: log}, c.stores.Platform, own, keys.NewStore(c.stores.Platform))
	if err != nil {
		return "", err
	}
	mux.Handle("/issuer/", provider)
	mux.Handle("/", control.New(api.Config{Stores: c.stores, Authenticator: people, Audit: audit.NewLog(own.Derive("audit mac", 32)), Cipher: own, Log: log, Now: time.Now}).Handler())
	c.server.Close()
	c.server = server
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"account_admin@account-1"}, "client_secret": {provider.ServiceSecret()}, "scope": {"openid"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/issuer/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := server.Client().Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var said struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil || said.Token == "" {
		return "", fmt.Errorf("no token: %s (%w)", res.Status, err)
	}
	return said.Token, nil
}

// load makes a round's requests, and returns their p50 in ms and how many there were a second.
func load(ctx context.Context, address, token string) ([]float64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	times := make([][]time.Duration, callers)
	errs := make([]error, callers)
	var g sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		g.Go(func() {
			for range callsOfRound / callers {
				at := time.Now()
				if _, err := call(ctx, client, address, token); err != nil {
					errs[i] = err
					return
				}
				times[i] = append(times[i], time.Since(at))
			}
		})
	}
	g.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return []float64{float64(all[len(all)/2].Microseconds()) / 1000, float64(len(all)) / took.Seconds()}, nil
}

func call(ctx context.Context, client *http.Client, address, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", address, res.Status, text)
	}
	return text, err
}
