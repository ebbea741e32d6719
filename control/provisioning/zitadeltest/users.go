package zitadeltest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) createUser(_ *http.Request, d *decoder) (any, *failure) {
	var in struct {
		OrganizationID, UserID, Username string
		Human                            struct {
			Profile struct{ GivenName, FamilyName string }
			Email   struct {
				Email                string
				SendCode, ReturnCode *struct{}
			}
		}
	}
	if !d.into(&in, &in.OrganizationID, &in.Human.Profile.GivenName, &in.Human.Profile.FamilyName, &in.Human.Email.Email) {
		return nil, nil
	}
	if in.UserID == "" {
		in.UserID = s.id()
	}
	if in.Username == "" {
		in.Username = in.Human.Email.Email
	}
	if _, there := s.truth.organizations[in.OrganizationID]; !there {
		return nil, &failure{precondition, "Errors.Org.NotFound (COMMAND-QYxZ9)"}
	}
	if _, there := s.truth.users[in.UserID]; there || s.hasLoginName(in.Username) {
		return nil, &failure{already, "Errors.User.AlreadyExisting (COMMAND-7yiox1isql)"}
	}
	s.next++
	u := User{ID: in.UserID, Organization: in.OrganizationID, LoginName: in.Username, GivenName: in.Human.Profile.GivenName, FamilyName: in.Human.Profile.FamilyName,
		Email: in.Human.Email.Email, State: "active", number: s.next}
	s.putUser(u)
	s.happened(ServiceUser, u.ID, "user", u.Organization, "user.human.added", object{"userName": u.LoginName, "firstName": u.GivenName, "lastName": u.FamilyName,
		"displayName": u.GivenName + " " + u.FamilyName, "email": u.Email})
	answer := object{"id": u.ID, "creationDate": time.Now().UTC()}
	if in.Human.Email.ReturnCode != nil {
		answer["emailCode"] = "SECRETCODE"
	}
	return answer, nil
}

func (s *Server) putUser(u User) { s.put(func(v *state) { v.users[u.ID] = u }) }

func (s *Server) hasLoginName(name string) bool {
	for _, u := range s.truth.users {
		if strings.EqualFold(u.LoginName, name) {
			return true
		}
	}
	return false
}

var errNoUser = &failure{notFound, "Errors.User.NotFound (COMMAND-8dfs2)"}

var userStates = map[string]string{"active": "USER_STATE_ACTIVE", "inactive": "USER_STATE_INACTIVE", "locked": "USER_STATE_LOCKED"}

func (u User) shown() object {
	return object{"userId": u.ID, "details": details(u.Organization), "state": userStates[u.State], "username": u.LoginName, "loginNames": []string{u.LoginName}, "preferredLoginName": u.LoginName,
		"human": object{"userId": u.ID, "profile": object{"givenName": u.GivenName, "familyName": u.FamilyName, "displayName": u.GivenName + " " + u.FamilyName},
			"email": object{"email": u.Email, "isVerified": u.Verified}}}
}

func (s *Server) getUser(r *http.Request, _ *decoder) (any, *failure) {
	u, there := s.seen().users[r.PathValue("id")]
	if !there {
		return nil, errNoUser
	}
	return object{"details": details(u.Organization), "user": u.shown()}, nil
}

func (s *Server) listUsers(_ *http.Request, d *decoder) (any, *failure) {
	var in struct {
		Query         listQuery
		SortingColumn string
		Queries       []struct {
			EmailQuery *struct {
				EmailAddress, Method string
			}
			InUserIDsQuery      *struct{ UserIDs []string }
			OrganizationIDQuery *struct{ OrganizationID string }
		}
	}
	if !d.into(&in) {
		return nil, nil
	}
	var found []User
	for _, u := range s.seen().users {
		ok := true
		for _, q := range in.Queries {
			switch {
			case q.EmailQuery != nil:
				ok = ok && (u.Email == q.EmailQuery.EmailAddress || q.EmailQuery.Method == "TEXT_QUERY_METHOD_EQUALS_IGNORE_CASE" && strings.EqualFold(u.Email, q.EmailQuery.EmailAddress))
			case q.InUserIDsQuery != nil:
				ok = ok && slices.Contains(q.InUserIDsQuery.UserIDs, u.ID)
			case q.OrganizationIDQuery != nil:
				ok = ok && u.Organization == q.OrganizationIDQuery.OrganizationID
			}
		}
		if ok {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b User) int { return a.number - b.number })
	shown := []object{}
	for _, u := range cutPage(found, in.Query.Offset, in.Query.Limit) {
		shown = append(shown, u.shown())
	}
	if len(in.Queries) == 1 && in.Queries[0].InUserIDsQuery != nil && slices.Contains(in.Queries[0].InUserIDsQuery.UserIDs, ServiceUser) {
		shown = append(shown, object{"userId": ServiceUser, "details": details(Platform), "state": userStates["active"], "username": ServiceUser, "machine": object{"name": "cockpit"}})
	}
	return object{"details": object{"totalResult": fmt.Sprint(len(found)), "timestamp": time.Now().UTC()}, "result": shown}, nil
}

func cutPage[T any](all []T, offset string, limit int) []T {
	from, _ := strconv.Atoi(offset)
	if limit == 0 {
		limit = 100
	}
	return all[min(from, len(all)):min(from+limit, len(all))]
}

func (s *Server) deleteUser(r *http.Request, _ *decoder) (any, *failure) {
	u, there := s.truth.users[r.PathValue("id")]
	if !there {
		return nil, errNoUser
	}
	s.removeUser(ServiceUser, u)
	return object{"details": details(u.Organization)}, nil
}

func (s *Server) removeUser(editor string, u User) {
	s.put(func(v *state) {
		delete(v.users, u.ID)
		maps.DeleteFunc(v.authorizations, func(_ string, a Authorization) bool { return a.User == u.ID })
	})
	s.happened(editor, u.ID, "user", u.Organization, "user.removed", nil)
}

func (s *Server) moveUser(r *http.Request, d *decoder) (any, *failure) {
	u, there := s.truth.users[r.PathValue("id")]
	if !there {
		return nil, errNoUser
	}
	verb := r.PathValue("verb")
	if verb == "invite_code" {
		return s.invite(u, d)
	}
	if !d.into(&struct{}{}) {
		return nil, nil
	}
	if !u.move(verb) {
		return nil, &failure{precondition, "Errors.User.NotInactive or AlreadyInactive (COMMAND-6M0sf)"}
	}
	s.putUser(u)
	s.happened(ServiceUser, u.ID, "user", u.Organization, "user."+verb+"d", nil)
	return object{"details": details(u.Organization)}, nil
}

// move changes his state, if the verb can be done in the one that he is in.
func (u *User) move(verb string) bool {
	way := map[string][2]string{"deactivate": {"active", "inactive"}, "reactivate": {"inactive", "active"}, "lock": {"active", "locked"}, "unlock": {"locked", "active"}}[verb]
	if way[0] == "" || u.State != way[0] {
		return false
	}
	u.State = way[1]
	return true
}

func (s *Server) invite(u User, d *decoder) (any, *failure) {
	var in struct {
		SendCode *struct{ URLTemplate, ApplicationName string }
	}
	if !d.into(&in) {
		return nil, nil
	}
	if u.Ready {
		return nil, &failure{precondition, "Errors.User.AlreadyInitialised (COMMAND-EF34g)"}
	}
	if in.SendCode == nil {
		return nil, &failure{invalid, "invalid CreateInviteCodeRequest.Verification"}
	}
	s.mails[u.ID]++
	return object{"details": details(u.Organization)}, nil
}

type authorizationRequest struct {
	ID, UserID, ProjectID, OrganizationID string
	RoleKeys                              []string
}

// authorization is the service of authorizations, in connect's form.
func (s *Server) authorization(r *http.Request, d *decoder) (any, *failure) {
	switch r.PathValue("verb") {
	case "ListAuthorizations":
		return s.listAuthorizations(d)
	case "CreateAuthorization":
		var in struct {
			UserID, ProjectID, OrganizationID string
			RoleKeys                          []string
		}
		if !d.into(&in, &in.UserID, &in.ProjectID, &in.OrganizationID) {
			return nil, nil
		}
		return s.createAuthorization(authorizationRequest{"", in.UserID, in.ProjectID, in.OrganizationID, in.RoleKeys})
	case "UpdateAuthorization":
		var in struct {
			ID       string
			RoleKeys []string
		}
		if !d.into(&in, &in.ID) {
			return nil, nil
		}
		a, there := s.truth.authorizations[in.ID]
		if !there {
			return nil, &failure{notFound, "Errors.UserGrant.NotFound (COMMAND-3M9sd)"}
		}
		if !within(in.RoleKeys, s.mayGive(a.Organization)) {
			return nil, &failure{precondition, "Errors.Project.Role.NotFound (COMMAND-Rsm93)"}
		}
		s.setRoles(ServiceUser, a, in.RoleKeys)
		return object{"changeDate": time.Now().UTC()}, nil
	case "DeleteAuthorization", "ActivateAuthorization", "DeactivateAuthorization":
		var in struct{ ID string }
		if !d.into(&in, &in.ID) {
			return nil, nil
		}
		return s.moveAuthorization(in.ID, strings.TrimSuffix(r.PathValue("verb"), "Authorization"))
	}
	return nil, &failure{notFound, "unknown method"}
}

func (s *Server) mayGive(organization string) []string {
	if organization == Platform {
		return projectRoles
	}
	return s.truth.grants[organization]
}

func (s *Server) createAuthorization(in authorizationRequest) (any, *failure) {
	_, user := s.truth.users[in.UserID]
	switch {
	case !user:
		return nil, &failure{precondition, "Errors.User.NotFound (COMMAND-4f8sg)"}
	case in.ProjectID != Project || s.mayGive(in.OrganizationID) == nil:
		return nil, &failure{precondition, "Errors.Project.Grant.NotFound (COMMAND-4m9ff)"}
	case !within(in.RoleKeys, s.mayGive(in.OrganizationID)):
		return nil, &failure{precondition, "Errors.Project.Role.NotFound (COMMAND-mm9F4)"}
	}
	for _, a := range s.truth.authorizations {
		if a.User == in.UserID && a.Organization == in.OrganizationID {
			return nil, &failure{already, "Errors.UserGrant.AlreadyExists (COMMAND-pXRan)"}
		}
	}
	a := Authorization{ID: s.id(), User: in.UserID, Organization: in.OrganizationID, Roles: in.RoleKeys, Active: true}
	s.addAuthorization(ServiceUser, a)
	return object{"id": a.ID, "creationDate": time.Now().UTC()}, nil
}

func (s *Server) moveAuthorization(id, verb string) (any, *failure) {
	a, there := s.truth.authorizations[id]
	if verb == "Delete" {
		if there {
			s.removeAuthorization(ServiceUser, a)
		}
		return object{"deletionDate": time.Now().UTC()}, nil
	}
	if !there {
		return nil, &failure{notFound, "Errors.UserGrant.NotFound (COMMAND-3M9sd)"}
	}
	if to := verb == "Activate"; a.Active != to {
		s.setActive(ServiceUser, a, to)
	}
	return object{"changeDate": time.Now().UTC()}, nil
}

func (s *Server) listAuthorizations(d *decoder) (any, *failure) {
	type idFilter struct{ ID string }
	var in struct {
		Pagination    listQuery
		SortingColumn string
		Filters       []struct{ UserID, OrganizationID, ProjectID *idFilter }
	}
	if !d.into(&in) {
		return nil, nil
	}
	var found []Authorization
	for _, id := range slices.Sorted(maps.Keys(s.seen().authorizations)) {
		a, ok := s.view.authorizations[id], true
		for _, f := range in.Filters {
			ok = ok && (f.UserID == nil || f.UserID.ID == a.User) && (f.OrganizationID == nil || f.OrganizationID.ID == a.Organization) && (f.ProjectID == nil || f.ProjectID.ID == Project)
		}
		if ok {
			found = append(found, a)
		}
	}
	shown := []object{}
	for _, a := range cutPage(found, in.Pagination.Offset, in.Pagination.Limit) {
		roles := []object{}
		for _, key := range a.Roles {
			roles = append(roles, object{"key": key})
		}
		shown = append(shown, object{"id": a.ID, "project": object{"id": Project}, "organization": object{"id": a.Organization}, "user": object{"id": a.User, "displayName": "Somebody"},
			"state": map[bool]string{true: "STATE_ACTIVE", false: "STATE_INACTIVE"}[a.Active], "roles": roles})
	}
	return object{"pagination": object{"totalResult": fmt.Sprint(len(found)), "appliedLimit": "100"}, "authorizations": shown}, nil
}
