package zitadeltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

type object = map[string]any

const (
	projects       = "/zitadel.project.v2.ProjectService/"
	authorizations = "/zitadel.authorization.v2.AuthorizationService/"
)

// Organization is one that is there.
type Organization struct {
	ID, Name string
	Active   bool
}

// User is somebody who is there.
type User struct {
	ID, Organization, LoginName string
	GivenName, FamilyName       string
	Email                       string
	Verified                    bool
	State                       string // active, inactive or locked
	Ready                       bool   // has set himself up
	number                      int
}

// Authorization is a user's roles in an organization.
type Authorization struct {
	ID, User, Organization string
	Roles                  []string
	Active                 bool
}

type state struct {
	organizations  map[string]Organization
	users          map[string]User
	authorizations map[string]Authorization
	grants         map[string][]string // roles that an organization may give
}

func newState() *state {
	return &state{map[string]Organization{}, map[string]User{}, map[string]Authorization{}, map[string][]string{}}
}

var projectRoles = []string{"super_admin", "account_admin", "end_user"}

// failure is an error of ZITADEL: the number of its gRPC code, and a message.
type failure struct {
	code    int
	message string
}

const (
	invalid      = 3
	notFound     = 5
	already      = 6
	precondition = 9
)

var names = map[int]string{invalid: "invalid_argument", notFound: "not_found", already: "already_exists", precondition: "failed_precondition", 16: "unauthenticated"}
var statuses = map[int]int{invalid: http.StatusBadRequest, notFound: http.StatusNotFound, already: http.StatusConflict, precondition: http.StatusBadRequest, 16: http.StatusUnauthorized}

// write answers as connect does, or as the gRPC gateway.
func (f *failure) write(w http.ResponseWriter, connect bool) {
	if connect {
		reply(w, statuses[f.code], object{"code": names[f.code], "message": f.message})
		return
	}
	reply(w, statuses[f.code], object{"code": f.code, "message": f.message, "details": []object{{"@type": "type.googleapis.com/zitadel.v1.ErrorDetail", "id": "TEST-0", "message": f.message}}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// decoder reads a body, and refuses what ZITADEL does not know.
type decoder struct {
	r       *http.Request
	failure *failure
}

// into says whether the body is an object with these fields and no others, each of required filled in.
func (d *decoder) into(v any, required ...*string) bool {
	var body map[string]any
	text, err := io.ReadAll(d.r.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	decode := json.NewDecoder(bytes.NewReader(text))
	decode.DisallowUnknownFields()
	if err == nil {
		err = decode.Decode(v)
	}
	if err == nil {
		err = spelled(body)
	}
	if err != nil {
		d.failure = &failure{invalid, "proto: " + err.Error()}
		return false
	}
	for _, text := range required {
		if *text == "" || len(*text) > 200 {
			d.failure = &failure{invalid, "value length must be between 1 and 200 runes, inclusive"}
			return false
		}
	}
	return true
}

// fields are the names that requests may have: Go would take them in any case.
var fields = strings.Fields(`name organizationId query offset limit asc sortingColumn queries idQuery id projectId grantedOrganizationId roleKeys userId username human profile givenName
	familyName email returnCode sendCode emailQuery emailAddress method inUserIdsQuery userIds organizationIdQuery urlTemplate applicationName pagination filters`)

// spelled says which name of a body is not one, down to the deepest.
func spelled(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if !slices.Contains(fields, name) {
				return fmt.Errorf("unknown field %q", name)
			}
			if err := spelled(value); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := spelled(value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) id() string {
	s.next++
	return fmt.Sprintf("3%017d", s.next)
}

// details are in answers of the older form. The lock is held.
func details(owner string) object {
	return object{"sequence": "1", "changeDate": time.Now().UTC().Format(time.RFC3339Nano), "resourceOwner": owner}
}

func (s *Server) addOrganization(_ *http.Request, d *decoder) (any, *failure) {
	var in struct{ Name, OrganizationID string }
	if !d.into(&in, &in.Name) {
		return nil, nil
	}
	if in.OrganizationID == "" {
		in.OrganizationID = s.id()
	}
	if _, there := s.truth.organizations[in.OrganizationID]; there || s.named(in.Name, "") {
		return nil, &failure{already, "Errors.Org.AlreadyExisting (ORG-laho2n)"}
	}
	s.put(func(v *state) { v.organizations[in.OrganizationID] = Organization{in.OrganizationID, in.Name, true} })
	return object{"details": details(in.OrganizationID), "organizationId": in.OrganizationID}, nil
}

// named says whether another organization has a name. The lock is held.
func (s *Server) named(name, except string) bool {
	for id, o := range s.truth.organizations {
		if id != except && strings.EqualFold(o.Name, name) {
			return true
		}
	}
	return false
}

func (s *Server) updateOrganization(r *http.Request, d *decoder) (any, *failure) {
	var in struct{ Name string }
	if !d.into(&in, &in.Name) {
		return nil, nil
	}
	o, there := s.truth.organizations[r.PathValue("id")]
	switch {
	case !there:
		return nil, &failure{notFound, "Errors.Org.NotFound (ORG-1MRds)"}
	case o.Name == in.Name:
		return nil, &failure{precondition, "Errors.Org.NotChanged (ORG-4VSdf)"}
	case s.named(in.Name, o.ID):
		return nil, &failure{already, "Errors.Org.AlreadyExists (ORG-2kd8s)"}
	}
	o.Name = in.Name
	s.put(func(v *state) { v.organizations[o.ID] = o })
	return object{"changeDate": time.Now().UTC()}, nil
}

func (s *Server) moveOrganization(r *http.Request, d *decoder) (any, *failure) {
	if !d.into(&struct{}{}) {
		return nil, nil
	}
	o, there := s.truth.organizations[r.PathValue("id")]
	to := r.PathValue("verb") == "activate"
	switch {
	case !there || r.PathValue("verb") != "activate" && r.PathValue("verb") != "deactivate":
		return nil, &failure{notFound, "Errors.Org.NotFound (ORG-1MRds)"}
	case o.Active == to:
		return nil, &failure{precondition, "Errors.Org.AlreadyDeactivated or AlreadyActive (ORG-bkdb5)"}
	}
	o.Active = to
	s.put(func(v *state) { v.organizations[o.ID] = o })
	return object{"changeDate": time.Now().UTC()}, nil
}

type listQuery struct {
	Offset string
	Limit  int
	Asc    bool
}

func (s *Server) listOrganizations(_ *http.Request, d *decoder) (any, *failure) {
	var in struct {
		Query         listQuery
		SortingColumn string
		Queries       []struct{ IDQuery struct{ ID string } }
	}
	if !d.into(&in) {
		return nil, nil
	}
	found := []object{}
	for _, id := range slices.Sorted(maps.Keys(s.seen().organizations)) {
		if o := s.view.organizations[id]; len(in.Queries) == 0 || in.Queries[0].IDQuery.ID == id {
			found = append(found, object{"id": id, "name": o.Name, "state": map[bool]string{true: "ORGANIZATION_STATE_ACTIVE", false: "ORGANIZATION_STATE_INACTIVE"}[o.Active]})
		}
	}
	return object{"details": object{"totalResult": fmt.Sprint(len(found))}, "result": found}, nil
}

type projectGrant struct {
	ProjectID             string `json:"projectId"`
	GrantedOrganizationID string `json:"grantedOrganizationId"`
	RoleKeys              []string
}

func (s *Server) readGrant(d *decoder) (in projectGrant, f *failure) {
	if !d.into(&in, &in.ProjectID, &in.GrantedOrganizationID) {
		return in, nil
	}
	_, there := s.truth.organizations[in.GrantedOrganizationID]
	switch {
	case in.ProjectID != Project:
		return in, &failure{notFound, "Errors.Project.NotFound (PROJECT-6mf9s)"}
	case !there || in.GrantedOrganizationID == Platform:
		return in, &failure{precondition, "Errors.Org.NotFound (COMMAND-3n9dR)"}
	case !within(in.RoleKeys, projectRoles):
		return in, &failure{precondition, "Errors.Project.Role.NotExisting (PROJECT-9sdfs)"}
	}
	return in, nil
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(r string) bool { return !slices.Contains(all, r) })
}

func (s *Server) createProjectGrant(_ *http.Request, d *decoder) (any, *failure) {
	in, f := s.readGrant(d)
	if f != nil || d.failure != nil {
		return nil, f
	}
	if _, there := s.truth.grants[in.GrantedOrganizationID]; there {
		return nil, &failure{already, "Errors.Project.Grant.AlreadyExists (V3-DKcYh)"}
	}
	s.put(func(v *state) { v.grants[in.GrantedOrganizationID] = in.RoleKeys })
	return object{"creationDate": time.Now().UTC()}, nil
}

func (s *Server) updateProjectGrant(_ *http.Request, d *decoder) (any, *failure) {
	in, f := s.readGrant(d)
	if f != nil || d.failure != nil {
		return nil, f
	}
	if _, there := s.truth.grants[in.GrantedOrganizationID]; !there {
		return nil, &failure{notFound, "Errors.Project.Grant.NotFound (PROJECT-D8JxR)"}
	}
	s.put(func(v *state) { v.grants[in.GrantedOrganizationID] = in.RoleKeys })
	return object{"changeDate": time.Now().UTC()}, nil
}
