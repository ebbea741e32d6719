package provisioning

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The calls that are made, by https://zitadel.com/docs (APIs V2). Reads lag behind writes; what a write answers holds.

const (
	pageSize    = 100
	projectAPI  = "/zitadel.project.v2.ProjectService/"
	authorities = "/zitadel.authorization.v2.AuthorizationService/"
)

// remoteUser is somebody as ZITADEL lists him.
type remoteUser struct {
	UserID  string `json:"userId"`
	Details struct {
		ResourceOwner string    `json:"resourceOwner"`
		ChangeDate    time.Time `json:"changeDate"`
	} `json:"details"`
	State string `json:"state"` // USER_STATE_ACTIVE, …
	Human *struct {
		Profile struct {
			GivenName   string `json:"givenName"`
			FamilyName  string `json:"familyName"`
			DisplayName string `json:"displayName"`
		} `json:"profile"`
		Email struct {
			Email      string `json:"email"`
			IsVerified bool   `json:"isVerified"`
		} `json:"email"`
	} `json:"human"`
}

// state is his state as rows have it. Somebody who has not set himself up yet is active: nobody shut him out.
func (u *remoteUser) state() string {
	switch u.State {
	case "USER_STATE_INACTIVE":
		return stateInactive
	case "USER_STATE_LOCKED":
		return stateLocked
	case "USER_STATE_DELETED":
		return stateRemoved
	}
	return stateActive
}

func (u *remoteUser) name() string {
	if u.Human.Profile.DisplayName != "" {
		return u.Human.Profile.DisplayName
	}
	return strings.TrimSpace(u.Human.Profile.GivenName + " " + u.Human.Profile.FamilyName)
}

// States of users there.
const (
	stateActive   = "active"
	stateInactive = "inactive"
	stateLocked   = "locked"
	stateRemoved  = "removed"
	stateMoving   = "moving"   // by us, to active or inactive
	stateRemoving = "removing" // by us
)

type object = map[string]any

// createOrganization makes one with an id of ours.
func (a *remote) createOrganization(ctx context.Context, id, name string) error {
	var out struct {
		OrganizationID string `json:"organizationId"`
	}
	err := a.call(ctx, http.MethodPost, "/v2/organizations", object{"name": name, "organizationId": id}, &out)
	if err == nil && out.OrganizationID != id {
		err = notSaid("it made another organization than was asked for")
	}
	return err
}

func (a *remote) renameOrganization(ctx context.Context, id, name string) error {
	return a.call(ctx, http.MethodPost, "/v2/organizations/"+url.PathEscape(id), object{"name": name}, nil)
}

// moveOrganization activates or deactivates it.
func (a *remote) moveOrganization(ctx context.Context, id string, active bool) error {
	verb := "deactivate"
	if active {
		verb = "activate"
	}
	return a.call(ctx, http.MethodPost, "/v2/organizations/"+url.PathEscape(id)+"/"+verb, object{}, nil)
}

// hasOrganization says whether it is listed by now.
func (a *remote) hasOrganization(ctx context.Context, id string) (bool, error) {
	var out struct {
		Result []struct {
			ID string `json:"id"`
		} `json:"result"`
	}
	err := a.call(ctx, http.MethodPost, "/v2/organizations/_search", object{"queries": []object{{"idQuery": object{"id": id}}}}, &out)
	return err == nil && len(out.Result) == 1 && out.Result[0].ID == id, err
}

// grantProject lets an organization give the roles of the project.
func (a *remote) grantProject(ctx context.Context, project, organization string) error {
	in := object{"projectId": project, "grantedOrganizationId": organization, "roleKeys": Roles}
	err := a.call(ctx, http.MethodPost, projectAPI+"CreateProjectGrant", in, nil)
	if exists(err) {
		err = a.call(ctx, http.MethodPost, projectAPI+"UpdateProjectGrant", in, nil)
	}
	if unchanged(err) {
		err = nil
	}
	return err
}

// createUser makes somebody with an id of ours. No mail goes out: the code that verifies the e-mail is returned, and dropped.
func (a *remote) createUser(ctx context.Context, organization string, u *user) error {
	var out struct {
		ID string `json:"id"`
	}
	err := a.call(ctx, http.MethodPost, "/v2/users/new", object{"organizationId": organization, "userId": u.subject, "username": u.email, "human": object{
		"profile": object{"givenName": u.given, "familyName": u.family}, "email": object{"email": u.email, "returnCode": object{}}}}, &out)
	if err == nil && out.ID != u.subject {
		err = notSaid("it made another user than was asked for")
	}
	return err
}

// moveUser is deactivate or reactivate.
func (a *remote) moveUser(ctx context.Context, subject, verb string) error {
	return a.call(ctx, http.MethodPost, "/v2/users/"+url.PathEscape(subject)+"/"+verb, object{}, nil)
}

func (a *remote) deleteUser(ctx context.Context, subject string) error {
	return a.call(ctx, http.MethodDelete, "/v2/users/"+url.PathEscape(subject), nil, nil)
}

// sendInvitation sends ZITADEL's mail, by which somebody sets himself up.
func (a *remote) sendInvitation(ctx context.Context, subject string) error {
	return a.call(ctx, http.MethodPost, "/v2/users/"+url.PathEscape(subject)+"/invite_code", object{"sendCode": object{}}, nil)
}

func (a *remote) getUser(ctx context.Context, subject string) (*remoteUser, error) {
	var out struct {
		User *remoteUser `json:"user"`
	}
	err := a.call(ctx, http.MethodGet, "/v2/users/"+url.PathEscape(subject), nil, &out)
	if err == nil && (out.User == nil || out.User.UserID != subject) {
		err = notSaid("it answered for another user than was asked for")
	}
	return out.User, err
}

func (a *remote) listUsers(ctx context.Context, query object) ([]remoteUser, error) {
	var out struct {
		Result []remoteUser `json:"result"`
	}
	err := a.call(ctx, http.MethodPost, "/v2/users", object{"query": object{"limit": pageSize, "asc": true}, "sortingColumn": "USER_FIELD_NAME_CREATION_DATE", "queries": []object{query}}, &out)
	return out.Result, err
}

func byEmail(email string) object {
	return object{"emailQuery": object{"emailAddress": email, "method": "TEXT_QUERY_METHOD_EQUALS_IGNORE_CASE"}}
}

func byIDs(ids []string) object { return object{"inUserIdsQuery": object{"userIds": ids}} }

// authorization is somebody's roles in an organization, as ZITADEL lists them.
type authorization struct {
	ID           string `json:"id"`
	Organization struct {
		ID string `json:"id"`
	} `json:"organization"`
	User struct {
		ID          string `json:"id"`
		DisplayName string `json:"displayName"`
	} `json:"user"`
	State string `json:"state"` // STATE_ACTIVE or STATE_INACTIVE
	Roles []struct {
		Key string `json:"key"`
	} `json:"roles"`
}

func (a *authorization) active() bool { return a.State != "STATE_INACTIVE" }

func (a *authorization) keys() []string {
	keys := make([]string, len(a.Roles))
	for i, r := range a.Roles {
		keys[i] = r.Key
	}
	return keys
}

func (a *remote) createAuthorization(ctx context.Context, user, project, organization string, roles []string) (id string, err error) {
	var out struct {
		ID string `json:"id"`
	}
	err = a.call(ctx, http.MethodPost, authorities+"CreateAuthorization", object{"userId": user, "projectId": project, "organizationId": organization, "roleKeys": roles}, &out)
	if err == nil && out.ID == "" {
		err = notSaid("an authorization without an id")
	}
	return out.ID, err
}

// updateAuthorization replaces the whole set of roles.
func (a *remote) updateAuthorization(ctx context.Context, id string, roles []string) error {
	return a.call(ctx, http.MethodPost, authorities+"UpdateAuthorization", object{"id": id, "roleKeys": roles}, nil)
}

// moveAuthorization is Activate, Deactivate or Delete; each succeeds where it is so already.
func (a *remote) moveAuthorization(ctx context.Context, id, verb string) error {
	return a.call(ctx, http.MethodPost, authorities+verb+"Authorization", object{"id": id}, nil)
}

func (a *remote) listAuthorizations(ctx context.Context, offset int, filters ...object) ([]authorization, error) {
	var out struct {
		Authorizations []authorization `json:"authorizations"`
	}
	err := a.call(ctx, http.MethodPost, authorities+"ListAuthorizations", object{"pagination": object{"offset": strconv.Itoa(offset), "limit": pageSize, "asc": true},
		"sortingColumn": "AUTHORIZATION_FIELD_NAME_ID", "filters": filters}, &out)
	return out.Authorizations, err
}

func filter(name, id string) object { return object{name: object{"id": id}} }
