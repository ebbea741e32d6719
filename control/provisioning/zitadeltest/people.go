package zitadeltest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// SetUp is what somebody does who follows an invitation: he sets himself up, and so shows that the e-mail is his.
func (s *Server) SetUp(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.truth.users[user]
	u.Ready, u.Verified = true, true
	s.putUser(u)
	s.happened(user, u.ID, "user", u.Organization, "user.human.invite.check.succeeded", nil)
	s.happened(user, u.ID, "user", u.Organization, "user.human.email.verified", nil)
}

// Token is an access token for the project, of somebody who signed in at a client, with the roles that he has there now.
func (s *Server) Token(t testing.TB, user, client string) string {
	t.Helper()
	roles := map[string]map[string]string{}
	for _, a := range s.Authorizations() {
		for _, role := range a.Roles {
			if a.User == user && a.Active {
				if roles[role] == nil {
					roles[role] = map[string]string{}
				}
				roles[role][a.Organization] = a.Organization + ".example"
			}
		}
	}
	now := time.Now()
	s.mu.Lock()
	s.next++
	id := s.next
	s.mu.Unlock()
	claims, err := json.Marshal(object{"iss": s.URL, "sub": user, "aud": []string{Project}, "client_id": client, "jti": strconv.Itoa(id), "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(tokenFor).Unix(), "urn:zitadel:iam:org:project:" + Project + ":roles": roles})
	if err != nil {
		t.Fatal(err)
	}
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k, KeyID: keyID}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keys are what tokens are checked with.
func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	k, err := key()
	if err != nil {
		reply(w, http.StatusInternalServerError, object{})
		return
	}
	reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &k.PublicKey, KeyID: keyID, Algorithm: string(jose.RS256), Use: "sig"}}})
}
