package signin

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	jose "github.com/go-jose/go-jose/v4"
)

// forged are tokens that must be refused, each for its own reason.
func forged(f *forge) map[string]row {
	all := map[string]row{}
	for _, some := range []map[string]row{f.forms(), f.signatures(), f.payloads(), f.meanings()} {
		maps.Copy(all, some)
	}
	return all
}

// row is a token, and why it is refused.
type row = struct{ token, reason string }

// forms are wrong before anything is understood.
func (f *forge) forms() map[string]row {
	good := f.token(f.claims())
	parts := strings.Split(good, ".")
	header := f.header
	own := jose.JSONWebKey{KeyID: "mine", Key: &f.stranger.PublicKey, Use: "sig"}
	return map[string]row{
		"one part":               {"a.", reasonForm},
		"two parts":              {cut(good, 2), reasonForm},
		"four parts":             {good + ".x", reasonForm},
		"an empty signature":     {parts[0] + "." + parts[1] + ".", reasonSignature},
		"an empty payload":       {f.token(""), reasonPayload},
		"an empty header":        {"." + parts[1] + "." + parts[2], reasonHeader},
		"padding":                {parts[0] + "=." + parts[1] + "." + parts[2], reasonForm},
		"base64 with loose bits": {parts[0] + "." + parts[1] + "." + loose(parts[2]), reasonForm},
		"standard base64":        {parts[0] + ".+/+/." + parts[2], reasonForm},
		"too long":               {f.token(f.with("x", strings.Repeat("x", tokenBytesMax))), reasonSize},
		// header
		"header null":           {f.raw(f.ec, "null", f.claims()), reasonHeader},
		"header list":           {f.raw(f.ec, "[]", f.claims()), reasonHeader},
		"header with alg twice": {f.raw(f.ec, `{"alg":"ES256","alg":"none","kid":"ec"}`, f.claims()), reasonHeader},
		"header with crit":      {header(map[string]any{"crit": []string{"exp"}}), reasonHeader},
		"header with b64":       {header(map[string]any{"b64": false, "crit": []string{"b64"}}), reasonHeader},
		"header with its key":   {f.raw(f.stranger, map[string]any{"alg": "ES256", "jwk": own}, f.claims()), reasonHeader},
		"header with its jku":   {f.raw(f.stranger, map[string]any{"alg": "ES256", "kid": "mine", "jku": "https://evil.example/keys"}, f.claims()), reasonHeader},
		"header with its x5u":   {header(map[string]any{"x5u": "https://evil.example/cert"}), reasonHeader},
		"header with zip":       {header(map[string]any{"zip": "DEF"}), reasonHeader},
		"typ of a log-out":      {header(map[string]any{"typ": "logout+jwt"}), reasonHeader},
		"typ of a DPoP proof":   {header(map[string]any{"typ": "dpop+jwt"}), reasonHeader},
		"typ number":            {header(map[string]any{"typ": 1}), reasonHeader},
		"typ null":              {header(map[string]any{"typ": nil}), reasonHeader},
	}
}

// header is a good token with another header.
func (f *forge) header(changes map[string]any) string {
	h := map[string]any{"alg": "ES256", "kid": "ec", "typ": "JWT"}
	maps.Copy(h, changes)
	return f.raw(f.ec, h, f.claims())
}

// signatures are not the issuer's, or by an algorithm that proves nothing.
func (f *forge) signatures() map[string]row {
	parts := strings.Split(f.token(f.claims()), ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"ec"}`))
	public, _ := x509.MarshalPKIXPublicKey(&f.rsa.PublicKey)
	confused := func(secret []byte) string {
		token := f.raw([]byte{}, map[string]any{"alg": "HS256", "kid": "rsa"}, f.claims())
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(strings.TrimSuffix(token, ".")))
		return token + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	return map[string]row{
		"alg none":                    {none + "." + parts[1] + ".", reasonAlgorithm},
		"alg None":                    {f.raw([]byte{}, map[string]any{"alg": "None"}, f.claims()), reasonAlgorithm},
		"alg missing":                 {f.raw(f.ec, map[string]any{"kid": "ec"}, f.claims()), reasonAlgorithm},
		"alg HS256, the public key":   {confused(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), reasonAlgorithm},
		"alg HS256, empty":            {confused(nil), reasonAlgorithm},
		"alg of another key":          {f.signed(f.ec, "RS256", "ec", "JWT", f.claims()), reasonSignature},
		"unknown key":                 {f.signed(f.stranger, "ES256", "nobody", "JWT", f.claims()), reasonSignature},
		"a stranger's signature":      {f.signed(f.stranger, "ES256", "ec", "JWT", f.claims()), reasonSignature},
		"the key for encryption":      {f.signed(f.ec, "ES256", "enc", "JWT", f.claims()), reasonSignature},
		"r and s zero":                {f.signed(make([]byte, 64), "ES256", "ec", "JWT", f.claims()), reasonSignature},
		"payload of another token":    {parts[0] + "." + strings.Split(f.token(f.with("sub", "eve")), ".")[1] + "." + parts[2], reasonSignature},
		"signature of another token":  {parts[0] + "." + parts[1] + "." + strings.Split(f.token(f.with("jti", "2")), ".")[2], reasonSignature},
		"kid that is a path":          {f.signed(f.stranger, "ES256", "../../dev/null", "JWT", f.claims()), reasonSignature},
		"RSA signature, EC algorithm": {f.signed(f.rsa, "ES256", "ec", "JWT", f.claims()), reasonSignature},
	}
}

// payloads are signed, and no claims.
func (f *forge) payloads() map[string]row {
	roles := "urn:zitadel:iam:org:project:" + project + ":roles"
	return map[string]row{
		"payload null":             {f.token("null"), reasonPayload},
		"payload list":             {f.token("[]"), reasonPayload},
		"payload text":             {f.token(`"ada"`), reasonPayload},
		"payload number":           {f.token("1"), reasonPayload},
		"payload and more":         {f.token(`{"iss":"` + f.URL + `"} {}`), reasonPayload},
		"payload that is cut":      {f.token(`{"iss":"` + f.URL + `"`), reasonPayload},
		"payload no JSON":          {f.token("ada"), reasonPayload},
		"sub twice":                {f.token(fmt.Sprintf(`{"iss":%q,"sub":"ada","sub":"sam"}`, f.URL)), reasonTwice},
		"sub in another case":      {f.token(f.with("SUB", "sam")), reasonTwice},
		"sub with a long s":        {f.token(f.with("ſub", "sam")), reasonTwice},
		"sub a number":             {f.token(f.with("sub", 7)), reasonPayload},
		"sub with NUL":             {f.token(f.with("sub", "ada\x00")), reasonPayload},
		"exp a text":               {f.token(f.with("exp", "tomorrow")), reasonPayload},
		"exp null":                 {f.token(strings.Replace(text(f.claims()), fmt.Sprintf(`"exp":%v`, f.claims()["exp"]), `"exp":null`, 1)), reasonPayload},
		"exp beyond all time":      {f.token(f.with("exp", 1e300)), reasonPayload},
		"aud an object":            {f.token(f.with("aud", map[string]any{project: true})), reasonPayload},
		"roles a list":             {f.token(f.with(roles, []string{"super_admin"})), reasonRoles},
		"roles a text":             {f.token(f.with(roles, "super_admin")), reasonRoles},
		"roles without their orgs": {f.token(f.with(roles, map[string]any{"super_admin": true})), reasonRoles},
	}
}

// meanings are signed, and say what does not let anybody in.
func (f *forge) meanings() map[string]row {
	now := time.Now().Unix()
	good := f.token(f.claims())
	return map[string]row{
		// issuer
		"another issuer":          {f.token(f.with("iss", "https://evil.example")), reasonIssuer},
		"the issuer with a slash": {f.token(f.with("iss", f.URL+"/")), reasonIssuer},
		"no issuer":               {f.token(f.with("iss", nil)), reasonIssuer},
		// times
		"expired":            {f.token(f.with("exp", now-31)), reasonExpired},
		"no exp":             {f.token(f.with("exp", nil)), reasonExpired},
		"exp zero":           {f.token(f.with("exp", 0)), reasonExpired},
		"not yet":            {f.token(f.with("nbf", now+60)), reasonNotYet},
		"issued in an hour":  {f.token(f.with("iat", now+3600)), reasonIssuedLater},
		"no iat":             {f.token(f.with("iat", nil)), reasonIssuedAt},
		"all times negative": {f.token(f.with("iat", -5, "exp", -1, "nbf", -5)), reasonExpired},
		// whom, for whom, through whom
		"no sub":                        {f.token(f.with("sub", nil)), reasonSubject},
		"sub empty":                     {f.token(f.with("sub", "")), reasonSubject},
		"sub too long":                  {f.token(f.with("sub", strings.Repeat("a", 256))), reasonSubject},
		"no jti":                        {f.token(f.with("jti", nil)), reasonTokenID},
		"no client":                     {f.token(f.with("client_id", nil, "azp", nil)), reasonClient},
		"two clients":                   {f.token(f.with("azp", "web-client")), reasonClient},
		"no audience":                   {f.token(f.with("aud", nil)), reasonAudience},
		"audience empty":                {f.token(f.with("aud", []string{})), reasonAudience},
		"another project":               {f.token(f.with("aud", []string{"cockpit", "270"})), reasonAudience},
		"the project within a word":     {f.token(f.with("aud", "1"+project+"0")), reasonAudience},
		"a client that is not known":    {f.token(f.with("client_id", "evil", "azp", "evil")), reasonClientNone},
		"a client that is inactive":     {f.token(f.with("client_id", "old-client", "azp", "old-client")), reasonClientOff},
		"a person who is inactive":      {f.token(f.with("sub", "gone")), reasonPersonOff},
		"a person who is inactive, web": {f.token(f.with("sub", "gone", "client_id", "web-client", "azp", nil)), reasonPersonOff},
		// other kinds of tokens
		"an ID token":             {f.token(f.with("nonce", "n", "at_hash", "h")), reasonIDToken},
		"an ID token, no nonce":   {f.token(f.with("at_hash", "h")), reasonIDToken},
		"an ID token by its code": {f.token(f.with("c_hash", "h")), reasonIDToken},
		"a log-out token":         {f.token(f.with("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}})), reasonLogout},
		"an impersonation":        {f.token(f.with("act", map[string]any{"sub": "eve"})), reasonActor},
		"a token bound to a key":  {f.token(f.with("cnf", map[string]any{"jkt": "k"})), reasonBound},
		// what is no JWT
		"opaque, not the issuer's": {"made-up", reasonInactive},
		"opaque, refused":          {"inactive", reasonInactive},
		"opaque, active a text":    {"active-text", reasonInactive},
		"opaque, foreign project":  {"foreign", reasonAudience},
		"opaque, expired":          {"expired", reasonExpired},
		"opaque, no subject":       {"nobody", reasonSubject},
		"opaque, another issuer":   {"stranger", reasonIssuer},
		"opaque, an answer null":   {"null", reasonInactive},
		"encrypted":                {"a.b.c.d.e", reasonInactive},
		"spaces":                   {good + " " + good, reasonForm},
		"nothing":                  {"", reasonForm},
		"control characters":       {"a\x00b", reasonForm},
	}
}

// loose sets a bit that base64 does not use.
func loose(signature string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	return signature[:len(signature)-1] + string(alphabet[last|1])
}

func (f *forge) answers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := func(changes ...any) map[string]any {
		c := f.with(append([]any{"active", true}, changes...)...)
		return c
	}
	f.opaque = map[string]map[string]any{"good": answer(), "inactive": {"active": false, "sub": "ada"}, "active-text": answer("active", "true"), "foreign": answer("aud", []string{"cockpit"}),
		"expired": answer("exp", time.Now().Unix()-31), "nobody": answer("sub", nil), "stranger": answer("iss", "https://evil.example"), "web": answer("client_id", "web-client", "azp", nil)}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.f.answers()
	_, err := w.pool.Exec(t.Context(), `INSERT INTO people (issuer, subject, state) VALUES ($1, 'gone', 'inactive')`, w.f.URL)
	must(t, err)
	rows := forged(w.f)
	if len(rows) < 50 {
		t.Fatalf("only %d", len(rows))
	}
	for name, row := range rows {
		who, err := w.Authenticate(bearer(row.token))
		var e *Error
		if !errors.As(err, &e) || e.Reason != row.reason || e.Status != http.StatusUnauthorized || who != nil {
			t.Errorf("%s: %v, %v, want %q", name, who, err, row.reason)
		}
	}
	if n := w.f.keysAsked.Load(); n > 2 {
		t.Errorf("the keys were asked for %d times", n)
	}
	var people int
	must(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM people`).Scan(&people))
	if people != 1 {
		t.Errorf("%d people were written down", people)
	}
}

func TestGoodTokensAreAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.f.answers()
	f := w.f
	now := time.Now().Unix()
	for name, token := range map[string]string{
		"plain": f.token(f.claims()), "RSA": f.signed(f.rsa, "RS256", "rsa", "JWT", f.claims()), "Ed25519": f.signed(f.ed, "EdDSA", "ed", "JWT", f.claims()),
		"at+jwt": f.signed(f.ec, "ES256", "ec", "at+jwt", f.claims()), "no typ": f.signed(f.ec, "ES256", "ec", "", f.claims()), "no kid": f.signed(f.rsa, "RS256", "", "JWT", f.claims()),
		"one audience": f.token(f.with("aud", project)), "only azp": f.token(f.with("client_id", nil)), "only client_id": f.token(f.with("azp", nil)),
		"just expired": f.token(f.with("exp", now-10)), "a little early": f.token(f.with("nbf", now+20, "iat", now+20)), "no nbf": f.token(f.with("nbf", nil)),
		"parts of seconds": f.token(f.with("exp", float64(now)+600.5)), "opaque": "good",
	} {
		who, err := w.Authenticate(bearer(token))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if who.Kind != access.Person || who.Subject != "ada" || who.Client != nil || len(who.Grants) != 1 || who.Grants[0].Role != access.AccountAdmin || who.Grants[0].Account == 0 {
			t.Errorf("%s: %+v", name, who)
		}
	}
	for _, token := range []string{f.token(f.with("client_id", "web-client", "azp", nil)), "web"} {
		who, err := w.Authenticate(bearer(token))
		if err != nil || who.Client == nil || who.Client.Key != "web" || len(who.Client.Permissions) != 1 || len(who.Grants) != 1 {
			t.Errorf("through a client: %+v %v", who, err)
		}
	}
}

func FuzzToken(fz *testing.F) {
	w := newWorld(fz)
	good := w.f.token(w.f.claims())
	issued := map[string]bool{good: true} // and those whose person or client is refused later
	for _, row := range forged(w.f) {
		fz.Add(row.token)
		issued[row.token] = slices.Contains([]string{reasonClientNone, reasonClientOff, reasonPersonOff}, row.reason)
	}
	fz.Add(good)
	fz.Fuzz(func(t *testing.T, token string) {
		who, err := w.accessToken(t.Context(), token)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %T", token, err)
		}
		if err == nil && (who.subject == "" || !issued[token]) {
			t.Errorf("%q was taken", token)
		}
	})
}

// FuzzSignedPayload has the issuer sign whatever it is: no payload may panic, or be taken without what must be there.
func FuzzSignedPayload(fz *testing.F) {
	w := newWorld(fz)
	fz.Add(text(w.f.claims()))
	for _, payload := range []string{"null", "{}", "[]", `{"iss":null}`, `{"aud":null,"exp":null}`, `{"a":{"a":[[[]]]}}`} {
		fz.Add(payload)
	}
	fz.Fuzz(func(t *testing.T, payload string) {
		c, err := w.accessToken(t.Context(), w.f.token(payload))
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %T", payload, err)
		}
		if err == nil && (c.issuer != w.f.URL || c.subject == "" || c.id == "" || c.client == "" || c.any("nonce", "events", "act", "cnf")) {
			t.Errorf("%q was taken", payload)
		}
	})
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// An address that its bearer has not shown to be his is not written down: people are found, and invites accepted, by it.
func TestOnlyAVerifiedEmailIsSomebodys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for subject, c := range map[string]struct {
		verified any
		want     string
	}{"yes": {true, "a@example.com"}, "text": {"true", "a@example.com"}, "unsaid": {nil, "a@example.com"}, "no": {false, ""}, "null": {json.RawMessage("null"), ""}, "maybe": {"maybe", ""}} {
		_, err := w.Authenticate(bearer(w.f.token(w.f.with("sub", subject, "email", "a@example.com", "email_verified", c.verified))))
		must(t, err)
		var email string
		must(t, w.pool.QueryRow(t.Context(), `SELECT email FROM people WHERE subject = $1`, subject).Scan(&email))
		if email != c.want {
			t.Errorf("%s: %q, want %q", subject, email, c.want)
		}
	}
}
