package signin

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/alchemi/cockpit/control/access"
)

// claims are what a token says, read strictly: names are exact, none stands there twice, and none of our own may be of
// another kind than it should be.
type claims struct {
	issuer, subject, id, client, session string
	name, email                          string
	audience                             []string
	expires, notBefore, issuedAt         time.Time // zero: not said
	roles                                access.Claims
	has                                  map[string]json.RawMessage
}

// parseClaims reads a payload. A reason says why it can't be.
func parseClaims(payload []byte, project string) (c *claims, reason string) {
	c = &claims{}
	if c.has, reason = members(payload); reason != "" {
		return nil, reason
	}
	authorized, named := "", ""
	for name, into := range map[string]*string{"iss": &c.issuer, "sub": &c.subject, "jti": &c.id, "azp": &authorized, "client_id": &named,
		"sid": &c.session, "name": &c.name, "email": &c.email} {
		if text, ok := c.has[name]; ok && json.Unmarshal(text, into) != nil {
			return nil, reasonPayload
		}
	}
	if said, ok := c.has["email_verified"]; ok && string(said) != "true" && string(said) != `"true"` {
		c.email = "" // anybody can claim an address; invites are accepted by it
	}
	for _, text := range []string{c.subject, c.id, authorized, named, c.session} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return nil, reasonPayload
		}
	}
	c.client = named
	if named == "" {
		c.client = authorized
	} else if authorized != "" && authorized != named {
		return nil, reasonClient
	}
	for name, into := range map[string]*time.Time{"exp": &c.expires, "nbf": &c.notBefore, "iat": &c.issuedAt} {
		if text, ok := c.has[name]; ok && !numericDate(text, into) {
			return nil, reasonPayload
		}
	}
	if text, ok := c.has["aud"]; ok && !oneOrMore(text, &c.audience) {
		return nil, reasonPayload
	}
	if text, ok := c.has["urn:zitadel:iam:org:project:"+project+":roles"]; ok {
		if c.roles, ok = rolesOf(text); !ok {
			return nil, reasonRoles
		}
	}
	return c, ""
}

// members are those of a JSON object. encoding/json would take any case of a name, and the last of several.
func members(payload []byte) (map[string]json.RawMessage, string) {
	d := json.NewDecoder(bytes.NewReader(payload))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, reasonPayload
	}
	has, folded := map[string]json.RawMessage{}, map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, reasonPayload
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, reasonPayload
		}
		fold := strings.ToLower(strings.ToUpper(name))
		if folded[fold] {
			return nil, reasonTwice
		}
		has[name], folded[fold] = value, true
	}
	if _, err := d.Token(); err != nil || len(bytes.TrimSpace(payload[d.InputOffset():])) > 0 {
		return nil, reasonPayload
	}
	return has, ""
}

func numericDate(text json.RawMessage, into *time.Time) bool {
	var seconds *float64
	if json.Unmarshal(text, &seconds) != nil || seconds == nil || math.Abs(*seconds) > 1e11 {
		return false
	}
	*into = time.UnixMilli(int64(*seconds * 1000))
	return true
}

func oneOrMore(text json.RawMessage, into *[]string) bool {
	var one *string
	if json.Unmarshal(text, &one) == nil && one != nil {
		*into = []string{*one}
		return true
	}
	return json.Unmarshal(text, into) == nil
}

// rolesOf reads {"account_admin": {"<organization>": "acme.example"}}.
func rolesOf(text json.RawMessage) (access.Claims, bool) {
	var said map[string]map[string]any
	if json.Unmarshal(text, &said) != nil {
		return nil, false
	}
	roles := access.Claims{}
	for role, organizations := range said {
		for organization := range organizations {
			if strings.ContainsFunc(role+organization, unicode.IsControl) {
				return nil, false
			}
			roles[access.Role(role)] = append(roles[access.Role(role)], organization)
		}
	}
	return roles, true
}

// clean makes a name of a text that somebody else wrote: no control characters, at most 200.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200])
	}
	return text
}
