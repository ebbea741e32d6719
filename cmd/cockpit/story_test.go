package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
)

// The size of the story.
const (
	storyUsers         = 100_000
	storyTeams         = 200
	storyOrganizations = 10
	storyHook          = "the-hook-of-the-story"
)

// story is an account whose directory is made through the API alone, at a program that keeps a ZITADEL in step.
type story struct {
	*running
	t            *testing.T
	z            *zitadeltest.Server
	data         string
	settings     []string
	super, admin string          // access tokens
	followed     map[string]bool // users of ZITADEL who are users of the account
}

const (
	ofStory   = "/v1/accounts/key:story"
	inCopilot = ofStory + "/sections/key:copilot"
)

// A directory's life: an account with 100,000 users is imported, organized, invited, moved, deactivated in bulk and undone, while
// its events flow, one key is nobody's until an admin says whose, and the program is killed in the middle of a job. In the end
// every user is where he should be, every accepted event was charged once, and the books verify.
func TestADirectorysStory(t *testing.T) {
	t.Parallel()
	s := begin(t)
	s.openAccount()
	var accepted atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	sent := make(chan struct{})
	go func() { defer close(sent); s.use(ctx, &accepted) }()

	s.organize()
	s.killInTheMiddle()
	s.invite("key:team-7")
	s.moveAndUndo("key:team-7", "key:team-8")
	s.attribute("ghost", "key:u-1")
	s.deactivateAndUndo()
	s.exportsAreNoChange()

	stop()
	<-sent
	s.settled(t, accepted.Load())
	for _, books := range [][]string{{"verify", "--data", s.data, "--json"}, {"audit", "verify", "--data", s.data, "--json"}} {
		if out, err := command(t, books...).Output(); err != nil {
			t.Errorf("%s: %v\n%s", books, err, out)
		}
	}
}

// begin starts the program, and the platform's admin at ZITADEL.
func begin(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, z: zitadeltest.New(t, 1), data: t.TempDir()}
	key := filepath.Join(t.TempDir(), "zitadel.json")
	if err := os.WriteFile(key, zitadeltest.KeyFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s.settings = []string{"COCKPIT_ISSUER=" + s.z.URL, "COCKPIT_CLIENT_ID=cockpit", "COCKPIT_CLIENT_SECRET=secret", "COCKPIT_PROJECT_ID=" + zitadeltest.Project,
		"COCKPIT_PLATFORM_ORGANIZATION=" + zitadeltest.Platform, "COCKPIT_ZITADEL_KEY_FILE=" + key, "COCKPIT_ZITADEL_WEBHOOK_SECRET=" + storyHook}
	s.running = startDev(t, s.data, s.settings...)
	s.z.AddUser(zitadeltest.User{ID: "sam", Organization: zitadeltest.Platform, GivenName: "Sam", FamilyName: "Super", Email: "sam@platform.example", Verified: true, Ready: true})
	s.z.Authorize("sam", zitadeltest.Platform, "super_admin")
	s.super = s.z.Token(t, "sam", "cockpit")
	return s
}

// call sends a request as somebody, and reads the answer into out. It fails the test at any other status than want.
func (s *story) call(token string, want int, method, path, contentType, body string, out any) []byte {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.API+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == want && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil || res.StatusCode != want {
		s.t.Fatalf("%s %s: %d, want %d: %v: %.2000s", method, path, res.StatusCode, want, err, text)
	}
	return text
}

func (s *story) get(path string, out any) {
	s.t.Helper()
	s.call(s.admin, http.StatusOK, http.MethodGet, path, "", "", out)
}

func (s *story) post(token string, want int, path, body string, out any) {
	s.t.Helper()
	s.call(token, want, http.MethodPost, path, "application/json", body, out)
}

// until waits for something that comes of itself.
func (s *story) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not yet: %s\n%s", what, s.out)
		}
	}
}

// storyJob is what the story looks at of a job.
type storyJob struct {
	ID, State string
	Items     struct{ Total, Done, Unchanged, Failed, Pending int }
}

// work makes a job, and waits until it has done something to as many items as it should, and failed with none.
func (s *story) work(path, body string, done int) storyJob {
	s.t.Helper()
	var job storyJob
	s.post(s.admin, http.StatusAccepted, path, body, &job)
	return s.ended(path, job.ID, done)
}

// undo undoes a job, and waits until that is done to as many items.
func (s *story) undo(path string, job storyJob, done int) {
	s.t.Helper()
	var undone storyJob
	s.post(s.admin, http.StatusAccepted, path+"/"+job.ID+"/undo", `{"reason":"and back"}`, &undone)
	s.ended(path, undone.ID, done)
}

func (s *story) ended(path, id string, done int) (job storyJob) {
	s.t.Helper()
	begin := time.Now()
	s.until("job "+id, func() bool {
		s.get(path+"/"+id, &job)
		return job.State != "queued" && job.State != "running"
	})
	s.t.Logf("%s %s: %+v after %v", path, id, job, time.Since(begin).Round(time.Millisecond))
	if job.State != "done" || job.Items.Done != done || job.Items.Failed != 0 {
		s.t.Fatalf("%+v, want %d done\n%s", job, done, s.call(s.admin, http.StatusOK, http.MethodGet, path+"/"+id+"/items?state=failed&limit=3", "", "", nil))
	}
	return job
}

// file imports a file, and wants that it is done to each of its lines; it may be waited for later.
func (s *story) file(path, text string) (id string) {
	s.t.Helper()
	var job storyJob
	s.call(s.admin, http.StatusAccepted, http.MethodPost, path, "text/csv", text, &job)
	return job.ID
}

// follow sets somebody up who got a mail, and delivers ZITADEL's events to the webhook.
func (s *story) follow(email string) (subject string) {
	s.t.Helper()
	for _, u := range s.z.Users() {
		if u.Email == email && s.z.Mails(u.ID) > 0 {
			subject = u.ID
		}
	}
	if subject != "" {
		s.z.SetUp(subject)
		for _, e := range s.z.Events() {
			if status, err := s.z.Send(s.t.Context(), s.API+provisioning.Path, storyHook, e); err != nil || status != http.StatusOK {
				s.t.Fatalf("%s: %d %v", e.EventType, status, err)
			}
		}
	}
	return subject
}

// openAccount is what the platform does: the account, its section, its first admin, who comes by ZITADEL's mail.
func (s *story) openAccount() {
	s.t.Helper()
	s.post(s.super, http.StatusCreated, "/v1/platform/accounts", `{"key":"story","name":"Story","time_zone":"Europe/Berlin"}`, nil)
	s.post(s.super, http.StatusOK, "/v1/platform/accounts/key:story/sections/key:copilot/on", "", nil)
	s.post(s.super, http.StatusCreated, "/v1/platform/accounts/key:story/invites", `{"email":"ada@story.example","name":"Ada Admin","delivery":"mail"}`, nil)
	var subject string
	s.until("Ada follows her mail", func() bool { subject = s.follow("ada@story.example"); return subject != "" })
	s.until("Ada has her role at ZITADEL", func() bool { return len(s.z.Authorizations()) == 2 })
	s.admin = s.z.Token(s.t, subject, "cockpit")
	s.until("Ada's invite is accepted", func() bool {
		var list struct{ Items []struct{ State string } }
		s.get(ofStory+"/invites", &list)
		return len(list.Items) == 1 && list.Items[0].State == "accepted"
	})
}

// organize imports organizations and teams, and all users.
func (s *story) organize() {
	s.t.Helper()
	var tree, users bytes.Buffer
	tree.WriteString("kind,key,name,parent\n")
	for i := range storyTeams { // before their parents
		fmt.Fprintf(&tree, "team,team-%d,Team %d,organization:org-%d\n", i, i, i%storyOrganizations)
	}
	for i := range storyOrganizations {
		fmt.Fprintf(&tree, "organization,org-%d,Organization %d,\n", i, i)
	}
	s.ended(inCopilot+"/jobs", s.file(inCopilot+"/imports/teams", tree.String()), storyTeams+storyOrganizations)
	users.WriteString("key,name,email\n")
	for i := range storyUsers {
		fmt.Fprintf(&users, "u-%d,User %d,u-%d@story.example\n", i, i, i)
	}
	s.ended(ofStory+"/jobs", s.file(ofStory+"/imports/users", users.String()), storyUsers)
}

// killInTheMiddle imports memberships, and kills the program meanwhile.
func (s *story) killInTheMiddle() {
	s.t.Helper()
	text := bytes.NewBufferString("user,parent,primary\n")
	for i := range storyUsers {
		fmt.Fprintf(text, "u-%d,team:team-%d,true\n", i, i%storyTeams)
	}
	id := s.file(inCopilot+"/imports/memberships", text.String())
	var job storyJob
	s.until("a part of the memberships", func() bool {
		s.get(inCopilot+"/jobs/"+id, &job)
		return job.Items.Done > storyUsers/10
	})
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	if job.State != "running" {
		s.t.Fatalf("the job was not killed in the middle: %+v", job)
	}
	s.running = startDev(s.t, s.data, s.settings...)
	s.ended(inCopilot+"/jobs", id, storyUsers)
	var list struct{ Total int }
	if s.get(inCopilot+"/memberships?total=true&limit=1", &list); list.Total != storyUsers {
		s.t.Fatalf("%d memberships", list.Total)
	}
}

const teamUsers = storyUsers / storyTeams

// invite invites a team by mail; half of them follow it.
func (s *story) invite(team string) {
	s.t.Helper()
	s.work(inCopilot+"/jobs", `{"operation":"invites.send","filter":{"section":"key:copilot","team":"`+team+`"}}`, teamUsers)
	s.until("all have their mail", func() bool { return len(s.z.Users()) == 2+teamUsers && len(s.z.Authorizations()) == 2+teamUsers })
	s.followed = map[string]bool{}
	for _, u := range s.z.Users() {
		if strings.HasPrefix(u.Email, "u-") && len(s.followed) < teamUsers/2 {
			s.until("a mail", func() bool { return s.follow(u.Email) != "" })
			s.followed[u.ID] = true
		}
	}
	s.until("who followed is a user's person", func() bool {
		var list struct{ Total int }
		s.get(inCopilot+"/invites?state=accepted&total=true&limit=1", &list)
		return list.Total == teamUsers/2
	})
}

func (s *story) moveAndUndo(from, to string) {
	s.t.Helper()
	job := s.work(inCopilot+"/jobs", `{"operation":"memberships.move","filter":{"team":"`+from+`"},"params":{"team":"`+to+`"}}`, teamUsers)
	members := func(team string, want int) {
		s.t.Helper()
		var list struct{ Total int }
		if s.get(inCopilot+"/memberships?total=true&limit=1&team="+team, &list); list.Total != want {
			s.t.Fatalf("%s has %d members, want %d", team, list.Total, want)
		}
	}
	members(from, 0)
	members(to, 2*teamUsers)
	s.undo(inCopilot+"/jobs", job, teamUsers)
	members(from, teamUsers)
	members(to, teamUsers)
}

// attribute says whose a key is that usage named all along, and corrects what was charged.
func (s *story) attribute(key, user string) {
	s.t.Helper()
	var a struct {
		ID, State string
		Corrected int
	}
	// Those whom the file of users made are known by now; what was charged before they were there stays as it is.
	listed := func(query string) bool {
		var list struct{ Items []struct{ Key string } }
		s.get(ofStory+"/unattributed?limit=200&sort=-last_at&"+query, &list)
		return slices.ContainsFunc(list.Items, func(i struct{ Key string }) bool { return i.Key == key })
	}
	s.until("the key is listed", func() bool { return listed("known=false") })
	s.post(s.admin, http.StatusCreated, ofStory+"/attributions", `{"key":"`+key+`","user":"`+user+`","sources":["alchemi-web"],"correct":true,"reason":"it was u-1 all along"}`, &a)
	s.until("what was charged is corrected", func() bool {
		s.get(ofStory+"/attributions/"+a.ID, &a)
		return a.State == "done"
	})
	if a.Corrected == 0 {
		s.t.Fatalf("%+v", a)
	}
	s.until("the key is nobody's no more", func() bool { return !listed("") })
}

func (s *story) deactivateAndUndo() {
	s.t.Helper()
	job := s.work(ofStory+"/jobs", `{"operation":"users.deactivate","filter":{},"reason":"closed for the holidays"}`, storyUsers)
	active := func() (n int) {
		for _, a := range s.z.Authorizations() {
			if a.Active && s.followed[a.User] {
				n++
			}
		}
		return n
	}
	s.until("who signs in as one of them may do so no more", func() bool { return active() == 0 })
	s.undo(ofStory+"/jobs", job, storyUsers)
	s.until("and may again", func() bool { return active() == len(s.followed) })
	var list struct{ Total int }
	if s.get(ofStory+"/users?state=active&total=true&limit=1", &list); list.Total != storyUsers {
		s.t.Fatalf("%d users are active", list.Total)
	}
}

// exportsAreNoChange imports what was exported, as a dry run.
func (s *story) exportsAreNoChange() {
	s.t.Helper()
	for path, lines := range map[string]int{inCopilot + "/%s/teams": storyTeams + storyOrganizations, inCopilot + "/%s/memberships": storyUsers, ofStory + "/%s/users": storyUsers} {
		text := s.call(s.admin, http.StatusOK, http.MethodGet, fmt.Sprintf(path, "exports")+".csv", "", "", nil)
		id := s.file(fmt.Sprintf(path, "imports")+"?dry_run=true", string(text))
		job := s.ended(path[:strings.Index(path, "/%s")]+"/jobs", id, 0)
		if job.Items.Unchanged != lines {
			s.t.Errorf("%s: %+v", path, job)
		}
	}
}

// use sends usage of users of the account, whether they are there yet or not, and of a key that is nobody's, until ctx ends.
// The program may be another one meanwhile.
func (s *story) use(ctx context.Context, accepted *atomic.Int64) {
	endpoints := func() (e endpoints) {
		text, err := os.ReadFile(filepath.Join(s.data, endpointsFile))
		if err == nil {
			err = json.Unmarshal(text, &e)
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
		return e
	}
	for n := 0; ctx.Err() == nil; n++ {
		var batch []json.RawMessage
		for i := range 10 {
			user := fmt.Sprint("u-", (n*997+i*31)%storyUsers)
			if i == 0 {
				user = "ghost"
			}
			event := map[string]any{"specversion": "1.0", "id": fmt.Sprintf("story-%d-%d", n, i), "source": "alchemi-web", "type": "cockpit.usage.v1", "time": time.Now().UTC().Format(time.RFC3339Nano)}
			event["data"] = map[string]any{"account": "story", "section": "copilot", "user": user, "model": "gpt-5", "quantities": map[string]int{"input_tokens": 1000 + i}}
			text, _ := json.Marshal(maps.Clone(event))
			batch = append(batch, text)
		}
		body, _ := json.Marshal(batch)
		e := endpoints()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.API+"/v1/events", bytes.NewReader(body))
		if err != nil {
			continue
		}
		r.Header.Set("Authorization", "Bearer "+e.ServiceKey)
		r.Header.Set("Content-Type", "application/cloudevents-batch+json")
		if res, err := http.DefaultClient.Do(r); err == nil {
			var a struct{ Accepted int64 }
			if json.NewDecoder(res.Body).Decode(&a) == nil {
				accepted.Add(a.Accepted)
			}
			res.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
}
