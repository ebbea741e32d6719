package journey_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

// Events name a user and a team by keys of before and of after a rename; all of it is theirs, and the books are green, also when the
// user is erased at last, and his keys are nobody's.
func TestRenamedKeysChargeAsBefore(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	url := testkit.ClickHouse(t)
	ch := d.clickhouseAt(url)
	a := controltest.New(t, controltest.Options{Database: d.pool.Config().ConnString(), ClickHouse: url}).As("account_admin:acme")
	stats, stop := d.work()
	const n, teams = 10, "/v1/accounts/key:acme/sections/key:copilot/teams"
	sent := 0
	send := func(user, team any) {
		t.Helper()
		d.must(d.follower.Refresh(t.Context()))
		for range n {
			sent++
			d.send(usage(fmt.Sprint("e-", sent), set("user", user), set("team", team)))
		}
		d.charged(int64(sent), stats.Charged.Load)
	}
	send("u-42", "support")
	send("grace", "care") // nobody has these yet
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-42/rename", `{"key":"grace"}`)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:support/rename", `{"key":"care"}`)
	send("u-42", "support")
	send("grace", "care")
	send("grace", "support")
	send(nil, "support")
	d.settle(ch)
	if got := d.used("acme", "copilot", "user", "grace"); got != "5.000000" {
		t.Errorf("grace used %s", got)
	}
	if got := d.used("acme", "copilot", "team", "care"); got != "6.250000" {
		t.Errorf("care used %s", got)
	}
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("%q", failed)
	}
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:grace/erase", `{"reason":"asked"}`)
	send("grace", "care")
	send("u-42", nil)
	stop()
	d.settle(ch)
	if got := d.used("acme", "copilot", "account", "acme"); got != "10.000000" {
		t.Errorf("the account used %s", got)
	}
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("of an erased user: %q", failed)
	}
}
