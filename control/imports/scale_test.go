package imports_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	account = "/v1/accounts/key:acme"
	section = account + "/sections/key:copilot"
	admin   = "account_admin:acme"
)

// lines is how many the files have: COCKPIT_IMPORT_LINES, or few enough for every run.
func lines(t *testing.T) int {
	n := 3000
	if text := os.Getenv("COCKPIT_IMPORT_LINES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// heap says what of the memory of the program is in use while f runs, at most, in MiB above what was before.
func heap(f func()) int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	return int(max(most, before)-before) >> 20
}

// load is how many programs wanted a core in the last minute, where that is known.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// An account is filled from files, and what is exported of it is no change. With COCKPIT_IMPORT_LINES=100000 this is what an import
// is measured by.
func TestAnAccountFromFiles(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	n := lines(t)
	var users, teams, members strings.Builder
	users.WriteString("key,name,email,state,identities\n")
	teams.WriteString("kind,key,name,parent\norganization,wide,Wide,\n")
	members.WriteString("user,parent,primary\n")
	for i := range n {
		fmt.Fprintf(&users, "user-%06d,\"Name, %d\",user-%d@acme.example,active,litellm=gateway-%d\n", i, i, i, i)
		fmt.Fprintf(&members, "user-%06d,team:team-%d,true\n", i, i%max(n/10, 1))
	}
	for i := range max(n/10, 1) {
		fmt.Fprintf(&teams, "team,team-%d,Team %d,organization:wide\n", i, i)
	}
	measure := func(what, place, name, query, file string, done, unchanged int) {
		began := time.Now()
		var im *controltest.Job
		used := heap(func() { im = s.As(admin).ImportJob(place, name, query, file) })
		t.Logf("%s: %d lines in %.1f s, %d MiB of heap, with the file itself; load %s", what, im.Items.Total, time.Since(began).Seconds(), used, load())
		if im.State != "done" || im.Items.Done != done || im.Items.Unchanged != unchanged || im.Items.Failed != 0 {
			t.Errorf("%s: %+v", what, im)
		}
	}
	measure("users, dry run", account, "users", "?dry_run=true", users.String(), n, 0)
	measure("users", account, "users", "", users.String(), n, 0)
	measure("users again", account, "users", "", users.String(), 0, n)
	measure("teams", section, "teams", "", teams.String(), max(n/10, 1)+1, 0)
	measure("memberships", section, "memberships", "", members.String(), n, 0)
	export := func(place, name string) (file string) {
		began := time.Now()
		used := heap(func() {
			file = string(s.As(admin).Want(http.StatusOK, http.MethodGet, place+"/exports/"+name+".csv", "").Body)
		})
		t.Logf("export of %s: %d lines in %.1f s, %d MiB of heap, with the file itself; load %s", name, strings.Count(file, "\n")-1, time.Since(began).Seconds(), used, load())
		return file
	}
	for name, place := range map[string]string{"users": account, "teams": section, "memberships": section} {
		file := export(place, name)
		measure("what was exported of "+name, place, name, "", file, 0, strings.Count(file, "\n")-1)
	}
}

// The limit of a file's lines, with nothing of it in memory: a million lines that are the same are named, each.
func TestALineThatIsThereManyTimes(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	im := s.As(admin).ImportJob(account, "users", "", "key,name\n"+strings.Repeat("a,A\n", lines(t)))
	if im.State != "done" || im.Items.Failed != lines(t) {
		t.Errorf("%+v", im)
	}
}

// A worker that is stopped in the middle leaves whole chunks, and the next goes on.
func TestAnImportThatWasInterrupted(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var file strings.Builder
	file.WriteString("key,name\n")
	const n = 4000
	for i := range n {
		fmt.Fprintf(&file, "user-%d,Name %d\n", i, i)
	}
	var job controltest.Job
	s.As(admin).Want(http.StatusAccepted, http.MethodPost, account+"/imports/users", file.String(), "Content-Type", "text/csv").Into(&job)
	for range 3 {
		stop := s.Work()
		for at := job.Items.Done; job.Items.Done == at && job.State != "done"; {
			s.As(admin).Want(http.StatusOK, http.MethodGet, account+"/jobs/"+job.ID, "").Into(&job)
		}
		stop()
		s = controltest.New(t, controltest.Options{Database: s.Owner.Config().ConnString()}) // the program starts again
	}
	s.Work()
	for job.State != "done" {
		s.As(admin).Want(http.StatusOK, http.MethodGet, account+"/jobs/"+job.ID, "").Into(&job)
	}
	var users, entries int
	if err := s.Owner.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM users WHERE key LIKE 'user-%'), (SELECT count(*) FROM audit_entries WHERE action = 'user.created')`).Scan(&users, &entries); err != nil ||
		users != n || entries != n || job.Items.Done != n {
		t.Errorf("%d users, %d entries, %+v (%v)", users, entries, job, err)
	}
}

// What a file says of people is kept no longer than it is needed, also where its job did not come to its end.
func TestLinesAreForgotten(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	kept := func() (n int) {
		if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM job_items WHERE data IS NOT NULL OR job_items::text LIKE '%Nobody%'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var job controltest.Job
	a := s.As(admin)
	a.Want(http.StatusAccepted, http.MethodPost, account+"/imports/users", "key,name,email\na,Nobody,\nb,Nobody,no\n", "Content-Type", "text/csv").Into(&job)
	a.Want(http.StatusOK, http.MethodPost, account+"/jobs/"+job.ID+"/cancel", "")
	if kept() == 0 {
		t.Fatal("there is nothing to forget")
	}
	s.Work()
	a.ImportJob(account, "users", "", "key,name,email\na,Nobody,\nb,Nobody,no\n")
	for deadline := time.Now().Add(time.Minute); kept() > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d lines are kept", kept())
		}
	}
}
