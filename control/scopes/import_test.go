package scopes_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	metering "github.com/alchemi/cockpit/metering/directory"
	"pgregory.net/rapid"
)

func exported(s *controltest.Server, name string) string {
	return string(s.As(admin).Want(http.StatusOK, http.MethodGet, inIt+"/exports/"+name+".csv", "").Body)
}

// both imports a file as a dry run and then really, and wants the same of each line.
func both(t *testing.T, s *controltest.Server, name, file string, want map[string]string) {
	t.Helper()
	before := exported(s, name)
	dry := s.As(admin).Import(inIt, name, "?dry_run=true", file)
	if exported(s, name) != before {
		t.Errorf("a dry run changed something")
	}
	done := s.As(admin).Import(inIt, name, "", file)
	if !maps.Equal(dry.Lines, want) || !maps.Equal(done.Lines, want) {
		t.Errorf("a dry run says\n%v\nand a run\n%v\nwant\n%v", dry.Lines, done.Lines, want)
	}
}

// again imports what is exported, and wants no change.
func again(t *testing.T, s *controltest.Server, name string) {
	t.Helper()
	file := exported(s, name)
	for _, query := range []string{"?dry_run=true", ""} {
		if im := s.As(admin).Import(inIt, name, query, file); im.Job.State != "done" || im.Job.Items.Total != im.Job.Items.Unchanged || im.Job.Items.Total == 0 {
			t.Errorf("%s is a change: %+v %v\n%s", query, im.Job, im.Lines, file)
		}
	}
}

func TestImportingATree(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"key":"idle","name":"Idle"}`)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:idle/deactivate", "")
	both(t, s, "teams", "kind,key,name,parent,state\n"+
		"team,low,Low,organization:mid,\n"+ // 2: before what it stands below
		"organization,mid,Mid,organization:high,\n"+
		"organization,high,High,,\n"+
		"team,support,Care,organization:eng,\n"+ // 5
		"team,platform,,organization:high,active\n"+
		"team,idle,,organization:mid,active\n"+
		"organization,eng,,,inactive\n"+
		"organization,p,P,organization:q,\n"+
		"organization,q,Q,organization:r,\n"+ // 10
		"organization,r,R,organization:p,\n"+
		"team,belowp,B,organization:p,\n"+
		"organization,eng2,E,organization:nowhere,\n"+
		"team,x,X,team:sales,\n"+
		"section,y,Y,,\n"+ // 15
		"team,a\u0308,A,,\n"+
		"team,none,,,\n"+
		"team,gone,G,,inactive\n"+
		"team,twice,A,,\n"+
		"team,twice,B,,\n"+ // 20
		"team,what,A,,off\n", map[string]string{
		"2": "done create name parent", "3": "done create name parent", "4": "done create name parent", "5": "done change name", "6": "done change parent", "7": "done change state parent",
		"8": "failed not_empty state", "9": "failed circle parent", "10": "failed circle parent", "11": "failed circle parent", "12": "failed parent_unknown parent",
		"13": "failed parent_unknown parent", "14": "failed invalid parent", "15": "failed invalid kind", "16": "failed invalid key", "17": "failed required name",
		"18": "failed team_inactive state", "19": "failed named_twice key", "20": "failed named_twice key", "21": "failed invalid state"})
	for team, want := range map[string][]string{"low": {"account", "high", "mid", "low"}, "platform": {"account", "high", "platform"}, "idle": {"account", "high", "mid", "idle"}} {
		if have := along(t, s, team, time.Now()); !slices.Equal(have, want) {
			t.Errorf("usage of %s is charged along %v, want %v", team, have, want)
		}
	}
	again(t, s, "teams")
	// Half of the tree upside down, and then gone, in one file each.
	both(t, s, "teams", "kind,key,parent,state\norganization,high,organization:mid,active\norganization,mid,,active\nteam,platform,organization:eng,\n", map[string]string{
		"2": "done change parent", "3": "done change parent", "4": "done change parent"})
	if have := along(t, s, "low", time.Now()); !slices.Equal(have, []string{"account", "mid", "low"}) {
		t.Errorf("%v", have)
	}
	both(t, s, "teams", "kind,key,state\norganization,mid,inactive\norganization,high,inactive\nteam,low,inactive\nteam,idle,inactive\n", map[string]string{
		"2": "done change state", "3": "done change state", "4": "done change state", "5": "done change state"})
	both(t, s, "teams", "kind,key,state\nteam,idle,active\n", map[string]string{"2": "failed required parent"})
	both(t, s, "teams", "kind,key,parent\norganization,eng,organization:research\n", map[string]string{"2": "failed circle parent"})
	both(t, s, "teams", "kind,key,parent,name\nteam,idle,,\nteam,new,organization:mid,New\n", map[string]string{"2": "unchanged", "3": "failed organization_inactive parent"})
	again(t, s, "teams")
	if _, err := metering.Follow(t.Context(), s.Metering, nil, time.Hour); err != nil {
		t.Error(err)
	}
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE request_id LIKE 'job\_%' AND object_kind IN ('team', 'organization')`).Scan(&n); err != nil || n != 6+3+4 {
		t.Errorf("%d changes are on record (%v)", n, err)
	}
}

func TestKeysOfBefore(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	s.As(admin).Want(http.StatusOK, http.MethodPost, orgs+"/key:eng/rename", `{"key":"technology"}`, "If-Match", "*")
	both(t, s, "teams", "kind,key,name,parent\norganization,eng,A,\nteam,new,New,organization:eng\nteam,eng,Another,organization:technology\n", map[string]string{
		"2": "failed key_taken key", "3": "failed parent_unknown parent", "4": "done create name parent"})
}

// What is short of credits is found line by line, also by a dry run, and the others are moved.
func TestMovesOfAFileSetAsideNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO allocations (account_id, scope_id, kind, amount, valid_from, author)
		SELECT account_id, id, 'fixed', 1000000, now() - interval '1 hour', 'test' FROM scopes WHERE key = 'research'`); err != nil {
		t.Fatal(err)
	}
	both(t, s, "teams", "kind,key,name,parent\nteam,language,,organization:eng\nteam,sales,,organization:inner\nteam,platform,,organization:research\norganization,inner,Inner,organization:research\n", map[string]string{
		"2": "done change parent", "3": "failed allocation_short parent", "4": "done change parent", "5": "done create name parent"})
	both(t, s, "teams", "kind,key,parent\nteam,sales,organization:eng\n", map[string]string{"2": "done change parent"})
	again(t, s, "teams")
}

func TestTheLimitOfTeamsInAFile(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	s.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", `{"limits":{"teams":7}}`, "If-Match", "*") // there are 5
	both(t, s, "teams", "kind,key,name\nteam,a,A\norganization,o,O\nteam,b,B\nteam,c,C\n", map[string]string{"2": "done create name parent", "3": "done create name parent", "4": "done create name parent",
		"5": "failed limit_reached"})
}

func TestTenThousandTeamsBelowOne(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	var file strings.Builder
	file.WriteString("kind,key,name,parent\n")
	for i := range 10_000 {
		fmt.Fprintf(&file, "team,t-%d,Team %d,organization:wide\n", i, i)
	}
	file.WriteString("organization,wide,Wide,organization:eng\n")
	if im := s.As(admin).Import(inIt, "teams", "", file.String()); im.Job.State != "done" || im.Job.Items.Done != 10_001 {
		t.Fatalf("%+v", im.Job)
	}
	again(t, s, "teams")
	if have := along(t, s, "t-9999", time.Now()); !slices.Equal(have, []string{"account", "eng", "wide", "t-9999"}) {
		t.Errorf("%v", have)
	}
}

// primaries are the users of acme's copilot with their memberships, the primary one marked.
func members(s *controltest.Server, user string) (list []string) {
	for line := range strings.Lines(exported(s, "memberships")) {
		if cells := strings.Split(line, ","); cells[0] == user {
			list = append(list, cells[1]+map[string]string{"true": "*"}[cells[2]])
		}
	}
	return list
}

func TestImportingMemberships(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	again(t, s, "memberships")
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-2/erase", `{"reason":"asked"}`)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"key":"idle","name":"Idle"}`)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:idle/deactivate", "")
	a.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/users", `{"key":"new","name":"New"}`)
	a.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/users", `{"key":"gone","name":"Gone"}`)
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:gone/erase", `{"reason":"asked"}`)
	var erased string
	if err := s.Owner.QueryRow(t.Context(), `SELECT max(key) FROM users WHERE erased_at IS NOT NULL`).Scan(&erased); err != nil {
		t.Fatal(err)
	}
	both(t, s, "memberships", "user,parent,primary,state\n"+
		"new,team:sales,,\n"+ // 2: his first
		"new,team:support,,active\n"+
		"new,organization:eng,false,\n"+
		"u-3,team:sales,true,\n"+ // 5
		"u-3,team:language,,ended\n"+
		"u-5,,,ended\n"+
		"u-5,team:nothing,,ended\n"+
		"u-1,team:sales,,ended\n"+
		"nobody,team:sales,,\n"+ // 10
		"u-1,team:nothing,,\n"+
		"u-1,team:idle,,\n"+
		"u-1,sales,,\n"+
		erased+",team:sales,,\n"+
		"u-4,team:sales,yes,\n"+ // 15
		"u-4,team:support,,gone\n"+
		"u-4,team:platform,true,ended\n"+
		"u-6,team:sales,true,\n"+
		"u-6,team:support,true,\n"+
		"u-42,,,\n"+ // 20
		"u-42,,,\n", map[string]string{
		"2": "done create", "3": "done create", "4": "done create", "5": "done create", "6": "done end", "7": "done end", "8": "failed parent_unknown parent", "9": "unchanged",
		"10": "failed user_unknown user", "11": "failed parent_unknown parent", "12": "failed parent_inactive parent", "13": "failed invalid parent", "14": "failed user_erased user",
		"15": "failed invalid primary", "16": "failed invalid state", "17": "failed invalid primary", "18": "failed named_twice primary", "19": "failed named_twice primary",
		"20": "failed named_twice parent", "21": "failed named_twice parent"})
	for user, want := range map[string][]string{"new": {"team:sales*", "team:support", "organization:eng"}, "u-3": {"team:sales*"}, "u-5": nil} {
		if have := members(s, user); !slices.Equal(have, want) {
			t.Errorf("%s is a member of %v, want %v", user, have, want)
		}
	}
	both(t, s, "memberships", "user,parent,primary\nnew,team:sales,false\nnew,organization:eng,true\n", map[string]string{"2": "unchanged", "3": "done change primary"})
	both(t, s, "memberships", "user,parent,state\nnew,organization:eng,ended\n", map[string]string{"2": "done end"})
	if have := members(s, "new"); !slices.Equal(have, []string{"team:sales*", "team:support"}) {
		t.Errorf("%v: when the primary one ends, the oldest other one is that", have)
	}
	again(t, s, "memberships")
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM (SELECT FROM primary_memberships WHERE valid_to = 'infinity' GROUP BY account_id, section_id, user_id HAVING count(*) > 1
		UNION ALL SELECT FROM primary_memberships x WHERE valid_to = 'infinity' AND NOT EXISTS (SELECT FROM scope_parents p WHERE p.scope_id = x.membership_id AND p.valid_to = 'infinity')) bad`).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d primary memberships are none (%v)", n, err)
	}
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE request_id LIKE 'job\_%' AND object_kind = 'membership'`).Scan(&n); err != nil || n != 6+1+1 {
		t.Errorf("%d changes are on record (%v)", n, err)
	}
}

// Two files at once, that say different things of the same: each line comes to something, and the tree is one.
func TestTwoImportsAtOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	var files [2]strings.Builder
	for i := range files {
		files[i].WriteString("kind,key,name,parent\n")
		for n := range 1200 {
			below := fmt.Sprintf("organization:o-%d", n-1+2*i) // upwards in one, and downwards in the other
			if n-1+2*i < 0 || n+i >= 1200 {
				below = ""
			}
			fmt.Fprintf(&files[i], "organization,o-%d,Of %d,%s\n", n, i, below)
		}
	}
	done := make(chan *controltest.Imported, 2)
	for i := range files {
		go func() { done <- s.As(admin).Import(inIt, "teams", "", files[i].String()) }()
	}
	for range files {
		if im := <-done; im.Job.State != "done" || im.Job.Items.Done+im.Job.Items.Failed+im.Job.Items.Unchanged != 1200 {
			t.Errorf("%+v", im.Job)
		}
	}
	var circles int
	if err := s.Owner.QueryRow(t.Context(), `WITH RECURSIVE up AS (SELECT scope_id AS id, parent_id FROM scope_parents WHERE valid_to = 'infinity'
		UNION SELECT up.id, p.parent_id FROM up JOIN scope_parents p ON p.scope_id = up.parent_id AND p.valid_to = 'infinity') SELECT count(*) FROM up WHERE id = parent_id`).Scan(&circles); err != nil || circles > 0 {
		t.Errorf("%d circles (%v)", circles, err)
	}
	again(t, s, "teams")
}

// Whatever keys and names a tree has, and wherever memberships are: what is exported is no change.
func TestWhatIsExportedIsNoChange(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	odd := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("'=+-@\t\r\n\":, a0ä\u0308😀\ufeff")), 0, 10, -1)).Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })
	add := func(rt *rapid.T, sql string, args ...any) (id int64) {
		if err := s.Owner.QueryRow(t.Context(), sql, args...).Scan(&id); err != nil {
			rt.Fatal(err)
		}
		return id
	}
	const where = ` FROM scopes r JOIN accounts a USING (account_id) JOIN sections x ON x.id = r.section_id WHERE a.key = 'acme' AND x.key = 'copilot' AND r.kind = 'account'`
	seen := map[int64]bool{}
	parents := []int64{add(&rapid.T{}, `SELECT r.id`+where)}
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]string{"organization", "team"}).Draw(rt, "kind")
		id := add(rt, `INSERT INTO scopes (account_id, section_id, kind, key, name) SELECT r.account_id, r.section_id, $1, $2, $3`+where+`
			ON CONFLICT (account_id, section_id, kind, key) WHERE key IS NOT NULL DO UPDATE SET name = excluded.name RETURNING id`, kind, odd.Draw(rt, "key"), odd.Draw(rt, "name"))
		below := rapid.SampledFrom(parents).Draw(rt, "parent")
		link := func(scope, parent int64) {
			if _, err := s.Owner.Exec(t.Context(), `INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from) SELECT account_id, section_id, id, $2, now() FROM scopes WHERE id = $1
				ON CONFLICT DO NOTHING`, scope, parent); err != nil {
				rt.Fatal(err)
			}
		}
		if seen[id] || rapid.IntRange(0, 5).Draw(rt, "inactive") == 0 {
			return
		}
		seen[id] = true
		link(id, below)
		if kind == "organization" {
			parents = append(parents, id)
		}
		member := add(rt, `INSERT INTO scopes (account_id, section_id, kind, user_id) SELECT r.account_id, r.section_id, 'membership', (SELECT min(id) FROM users u WHERE u.account_id = r.account_id)`+where+` RETURNING id`)
		link(member, id)
	})
	again(t, s, "teams")
	again(t, s, "memberships")
}
