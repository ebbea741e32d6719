package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// Finding is what Check found about one thing.
type Finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning or failed
	Detail string `json:"detail"`
}

// checker collects findings about one configuration.
type checker struct {
	*Service
	findings []Finding
}

func (c *checker) say(result, check, format string, args ...any) {
	c.findings = append(c.findings, Finding{check, result, fmt.Sprintf(format, args...)})
}

func (c *checker) okay(ok bool, otherwise, check, good, bad string) {
	if ok {
		c.say("ok", check, "%s", good)
		return
	}
	c.say(otherwise, check, "%s", bad)
}

// Check looks at a configuration and at the issuer, and says what would keep people or programs from signing in. token, if
// any, is an access token that should be good. It changes nothing anywhere.
func Check(ctx context.Context, cfg Config, token string) []Finding {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &checker{Service: &Service{cfg: cfg, log: cfg.Log, issuer: newProvider(cfg), asked: newIntrospections()}}
	if err := cfg.Validate(); err != nil {
		c.say("failed", "settings", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return c.findings
	}
	c.say("ok", "settings", "complete")
	c.okay(cfg.Organization != "", "warning", "platform organization", cfg.Organization, "COCKPIT_PLATFORM_ORGANIZATION is not set: nobody is super admin")
	found, err := client.Discover(ctx, cfg.Issuer, c.issuer.http)
	if err != nil {
		c.say("failed", "discovery", "%s%s: %v", cfg.Issuer, oidc.DiscoveryEndpoint, plain(err))
		return c.findings
	}
	c.say("ok", "discovery", "%s", cfg.Issuer)
	c.document(found)
	c.clock(ctx)
	k, err := c.issuer.get(ctx)
	if err != nil {
		c.say("failed", "discovery", "%v", err)
		return c.findings
	}
	c.keysAreThere(ctx, k)
	c.redirect(ctx, k)
	c.introspection(ctx, k)
	c.publicURL(ctx)
	if token != "" {
		c.token(ctx, token)
	}
	return c.findings
}

// document looks at what the issuer says that it can do.
func (c *checker) document(d *oidc.DiscoveryConfiguration) {
	for name, value := range map[string]string{"authorization_endpoint": d.AuthorizationEndpoint, "token_endpoint": d.TokenEndpoint, "userinfo_endpoint": d.UserinfoEndpoint, "jwks_uri": d.JwksURI} {
		if err := safeURL(value); err != nil {
			c.say("failed", name, "%q %v", value, err)
		}
	}
	c.okay(d.EndSessionEndpoint != "", "warning", "log-out", "signing out ends the issuer's session too", "the issuer has no end_session_endpoint: signing out ends only the cockpit's session")
	c.okay(d.BackChannelLogoutSupported, "warning", "back-channel log-out", "register "+c.cfg.PublicURL+"/auth/backchannel-logout at the application",
		"the issuer does not say that it has it: a session that ends there goes on here until its roles are asked for again")
	if len(d.CodeChallengeMethodsSupported) > 0 {
		c.okay(slices.Contains(d.CodeChallengeMethodsSupported, oidc.CodeChallengeMethodS256), "failed", "PKCE", "S256", "the issuer does not support S256")
	}
	if len(d.GrantTypesSupported) > 0 {
		c.okay(slices.Contains(d.GrantTypesSupported, oidc.GrantTypeRefreshToken), "warning", "refresh tokens", "supported; the application must have the grant too",
			"not supported: sessions end with their access token")
	}
}

// clock compares the issuer's with ours, by the header of an answer.
func (c *checker) clock(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Issuer+oidc.DiscoveryEndpoint, nil)
	if err != nil {
		return
	}
	res, err := c.issuer.http.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	theirs, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		c.say("warning", "clock", "the issuer's answer has no date to compare with")
		return
	}
	apart := c.cfg.Now().Sub(theirs).Round(time.Second)
	c.okay(apart.Abs() < leeway, "failed", "clock", fmt.Sprintf("within %v", leeway), fmt.Sprintf("%v apart from the issuer's; at most %v are forgiven", apart, leeway))
}

func (c *checker) keysAreThere(ctx context.Context, k *known) {
	keys, err := k.keys.wait(ctx)
	if err != nil {
		c.say("failed", "keys", "%s: %v", k.keys.url, err)
		return
	}
	usable := slices.DeleteFunc(slices.Clone(keys), func(key jose.JSONWebKey) bool {
		return key.Use == "enc" || key.Algorithm != "" && !slices.Contains(algorithms, key.Algorithm)
	})
	c.okay(len(usable) > 0, "failed", "keys", fmt.Sprintf("%d", len(usable)), "the issuer publishes no key that we can check a signature with")
}

// redirect begins a sign-in and looks where the issuer would send the browser.
func (c *checker) redirect(ctx context.Context, k *known) {
	const check = "application and redirect URI"
	own := c.cfg.PublicURL + "/auth/callback"
	target := rp.AuthURL(random(), k.party, rp.AuthURLOpt(rp.WithURLParam("nonce", random())), rp.WithCodeChallenge(oidc.NewSHACodeChallenge(oauth2.GenerateVerifier())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		c.say("failed", check, "%v", err)
		return
	}
	res, err := c.issuer.http.Do(req)
	if err != nil {
		c.say("failed", check, "%v", plain(err))
		return
	}
	defer res.Body.Close()
	to, err := res.Location()
	switch {
	case res.StatusCode >= 400 || err != nil && res.StatusCode != http.StatusOK:
		c.say("failed", check, "the issuer answers %s: is %s registered, and %s one of its redirect URIs?", res.Status, c.cfg.ClientID, own)
	case err == nil && strings.HasPrefix(to.String(), own):
		q := to.Query()
		c.okay(q.Get("error") == "login_required" || q.Get("error") == "interaction_required", "failed", check, "known", "the issuer refuses: "+clean(q.Get("error")+" "+q.Get("error_description")))
	default:
		c.say("ok", check, "the issuer would let somebody sign in, and send the browser to %s", own)
	}
}

// introspection asks about a token that is none.
func (c *checker) introspection(ctx context.Context, k *known) {
	const check = "introspection"
	if k.asks == nil {
		c.say("warning", check, "without COCKPIT_CLIENT_SECRET, or without an endpoint at the issuer, opaque tokens are refused; JWT access tokens are not")
		return
	}
	answer, err := rs.Introspect[json.RawMessage](ctx, k.asks, random())
	if err != nil {
		c.say("failed", check, "%v: is the secret right, and may the application use the endpoint (basic authentication)?", plain(err))
		return
	}
	var said struct{ Active *bool }
	c.okay(json.Unmarshal(answer, &said) == nil && said.Active != nil && !*said.Active, "failed", check, "allowed", "the issuer does not say of a made-up token that it is not active")
}

// publicURL asks the cockpit itself, which may not run yet, or not be reached from here.
func (c *checker) publicURL(ctx context.Context) {
	const check = "public URL"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.PublicURL+"/auth/session", nil)
	if err != nil {
		return
	}
	res, err := c.issuer.http.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		c.say("warning", check, "%s can't be reached from here: %v", c.cfg.PublicURL, err)
		return
	}
	defer res.Body.Close()
	var said struct{ Code string }
	_ = json.NewDecoder(res.Body).Decode(&said)
	c.okay(said.Code == CodeUnauthenticated, "warning", check, c.cfg.PublicURL+" is a cockpit", c.cfg.PublicURL+" answers "+res.Status+", as no cockpit would")
}

// token takes a token as a request would, except that nobody is looked up.
func (c *checker) token(ctx context.Context, token string) {
	var said *claims
	var err error
	if strings.Count(token, ".") == 2 {
		said, err = c.accessToken(ctx, token)
	} else {
		said, err = c.opaqueToken(ctx, token)
	}
	if err != nil {
		c.say("failed", "token", "%v", err)
		return
	}
	c.say("ok", "token", "of %s, through the client %s", said.subject, said.client)
	if said.client != c.cfg.ClientID {
		c.say("warning", "token's client", "%s must be a registered client of the cockpit", said.client)
	}
	name := "urn:zitadel:iam:org:project:" + c.cfg.ProjectID + ":roles"
	switch _, unnamed := said.has["urn:zitadel:iam:org:project:roles"]; {
	case said.roles != nil:
		var all []string
		for role, organizations := range said.roles {
			slices.Sort(organizations)
			all = append(all, fmt.Sprintf("%s in %s", role, strings.Join(organizations, ", ")))
		}
		slices.Sort(all)
		c.say("ok", "token's roles", "%s", strings.Join(all, "; "))
	case unnamed:
		c.say("failed", "token's roles", "the token has the roles of some project, and not the claim %s: request the scope urn:zitadel:iam:org:projects:roles", name)
	default:
		c.say("warning", "token's roles", "the token has no claim %s: an end user, or the application does not assert roles", name)
	}
}
