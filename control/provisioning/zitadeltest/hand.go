package zitadeltest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Admin is who changes things at ZITADEL by hand.
const Admin = "an-admin"

// Event is what Actions v2 send.
type Event struct {
	AggregateID   string `json:"aggregateID"`
	AggregateType string `json:"aggregateType"`
	ResourceOwner string `json:"resourceOwner"`
	InstanceID    string `json:"instanceID"`
	Version       string `json:"version"`
	Sequence      int64  `json:"sequence"`
	EventType     string `json:"event_type"`
	CreatedAt     string `json:"created_at"`
	UserID        string `json:"userID"`
	EventPayload  []byte `json:"event_payload,omitempty"` // base64 in JSON
}

// happened keeps an event to be sent. The lock is held.
func (s *Server) happened(editor, id, kind, owner, what string, payload any) {
	s.numbers[id]++
	e := Event{AggregateID: id, AggregateType: kind, ResourceOwner: owner, InstanceID: Instance, Version: "v2", Sequence: s.numbers[id], EventType: what,
		CreatedAt: time.Now().UTC().Format(time.RFC3339Nano), UserID: editor}
	if payload != nil {
		e.EventPayload, _ = json.Marshal(payload)
	}
	s.events = append(s.events, e)
}

// Events takes those that were not taken yet, in the order in which they happened.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

// Signature is the header of a body at a time, by one or more secrets.
func Signature(at time.Time, body []byte, secrets ...string) string {
	header := fmt.Sprintf("t=%d", at.Unix())
	for _, secret := range secrets {
		m := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(m, "%d.", at.Unix())
		m.Write(body)
		header += ",v1=" + hex.EncodeToString(m.Sum(nil))
	}
	return header
}

// Send delivers an event to a webhook, signed, and returns the status of the answer.
func (s *Server) Send(ctx context.Context, url, secret string, e Event) (int, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("ZITADEL-Signature", Signature(time.Now(), body, secret))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// Organizations are those that are there, without the platform's.
func (s *Server) Organizations() []Organization {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Organization
	for _, id := range slices.Sorted(maps.Keys(s.truth.organizations)) {
		if id != Platform {
			all = append(all, s.truth.organizations[id])
		}
	}
	return all
}

// Users are those who are there.
func (s *Server) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.truth.users), func(a, b User) int { return a.number - b.number })
}

// Authorizations are those that are there.
func (s *Server) Authorizations() []Authorization {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Authorization
	for _, id := range slices.Sorted(maps.Keys(s.truth.authorizations)) {
		all = append(all, s.truth.authorizations[id])
	}
	return all
}

// Mails is how many invitations were sent to somebody.
func (s *Server) Mails(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails[user]
}

// What follows is done by hand at ZITADEL.

// AddUser adds somebody.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	u.number = s.next
	if u.State == "" {
		u.State = "active"
	}
	if u.LoginName == "" {
		u.LoginName = u.Email
	}
	s.putUser(u)
	s.happened(Admin, u.ID, "user", u.Organization, "user.human.added", object{"userName": u.LoginName, "firstName": u.GivenName, "lastName": u.FamilyName,
		"displayName": u.GivenName + " " + u.FamilyName, "email": u.Email})
}

// Move is deactivate, reactivate, lock, unlock or remove.
func (s *Server) Move(user, verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.truth.users[user]
	if verb == "remove" {
		s.removeUser(Admin, u)
		return
	}
	if u.move(verb) {
		s.putUser(u)
		past := map[string]string{"lock": "locked", "unlock": "unlocked"}[verb]
		if past == "" {
			past = verb + "d"
		}
		s.happened(Admin, u.ID, "user", u.Organization, "user."+past, nil)
	}
}

// Rename changes somebody's name.
func (s *Server) Rename(user, given, family string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.truth.users[user]
	u.GivenName, u.FamilyName = given, family
	s.putUser(u)
	s.happened(user, u.ID, "user", u.Organization, "user.human.profile.changed", object{"firstName": given, "lastName": family, "displayName": given + " " + family})
}

// ChangeEmail changes somebody's e-mail, verified.
func (s *Server) ChangeEmail(user, email string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.truth.users[user]
	u.Email, u.Verified = email, true
	s.putUser(u)
	s.happened(user, u.ID, "user", u.Organization, "user.human.email.changed", object{"email": email})
	s.happened(user, u.ID, "user", u.Organization, "user.human.email.verified", nil)
}

// Authorize gives somebody roles.
func (s *Server) Authorize(user, organization string, roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addAuthorization(Admin, Authorization{ID: s.id(), User: user, Organization: organization, Roles: roles, Active: true})
}

// SetRoles changes somebody's roles.
func (s *Server) SetRoles(authorization string, roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setRoles(Admin, s.truth.authorizations[authorization], roles)
}

// Unauthorize removes somebody's roles.
func (s *Server) Unauthorize(authorization string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeAuthorization(Admin, s.truth.authorizations[authorization])
}

// SetActive deactivates or reactivates somebody's roles.
func (s *Server) SetActive(authorization string, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setActive(Admin, s.truth.authorizations[authorization], active)
}

const grantType = "usergrant"

func (s *Server) addAuthorization(editor string, a Authorization) {
	s.put(func(v *state) { v.authorizations[a.ID] = a })
	s.happened(editor, a.ID, grantType, a.Organization, "user.grant.added", object{"userId": a.User, "projectId": Project, "roleKeys": a.Roles})
}

func (s *Server) setRoles(editor string, a Authorization, roles []string) {
	a.Roles = roles
	s.put(func(v *state) { v.authorizations[a.ID] = a })
	s.happened(editor, a.ID, grantType, a.Organization, "user.grant.changed", object{"roleKeys": roles})
}

func (s *Server) setActive(editor string, a Authorization, active bool) {
	a.Active = active
	s.put(func(v *state) { v.authorizations[a.ID] = a })
	s.happened(editor, a.ID, grantType, a.Organization, map[bool]string{true: "user.grant.reactivated", false: "user.grant.deactivated"}[active], nil)
}

func (s *Server) removeAuthorization(editor string, a Authorization) {
	s.put(func(v *state) { delete(v.authorizations, a.ID) })
	s.happened(editor, a.ID, grantType, a.Organization, "user.grant.removed", nil)
}
