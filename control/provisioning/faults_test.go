package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// model is what is wanted, as whoever called says.
type model struct {
	roles    map[[2]string][]string // account and person
	inactive map[[2]string]bool
	names    map[string]string // of accounts
}

var (
	accountsOf = map[string]string{"acme": "Acme", "globex": "Globex", "initech": "Initech"}
	everybody  = []string{"ada@example.com", "bob@example.com", "cy@example.com", "dan@example.com"}
)

// step does something at random, and notes it.
func (m *model) step(w *world, r *rand.Rand) {
	account := []string{"acme", "globex", "initech"}[r.IntN(3)]
	who := everybody[r.IntN(len(everybody))]
	at := [2]string{account, who}
	id := int64(number(w.t, w.Server, `SELECT coalesce(max(id), 0) FROM issuer_users WHERE key = $1`, who))
	number := int64(number(w.t, w.Server, `SELECT account_id FROM accounts WHERE key = $1`, account))
	do := func(f func(ctx context.Context, tx pgx.Tx) error) {
		in(w.t, w.Server, number, func(ctx context.Context, tx pgx.Tx) error {
			if err := f(ctx, tx); !errors.Is(err, provisioning.ErrAbsent) {
				return err
			}
			return nil
		})
	}
	switch r.IntN(6) {
	case 0, 1, 2:
		role := provisioning.Roles[r.IntN(2)]
		if len(m.roles[at]) == 0 {
			delete(m.inactive, at)
		}
		m.roles[at] = slices.Compact(slices.Sorted(slices.Values(append(m.roles[at], role))))
		invite(w.t, w.Server, provisioning.Invitee{Account: number, Email: strings.ToUpper(who[:1]) + who[1:], Roles: []string{role}, Mail: r.IntN(2) == 0})
	case 3:
		delete(m.roles, at)
		do(func(ctx context.Context, tx pgx.Tx) error { return provisioning.Revoke(ctx, tx, id, number) })
	case 4:
		active := r.IntN(2) == 0
		if len(m.roles[at]) == 0 {
			return
		}
		m.inactive[at] = !active
		do(func(ctx context.Context, tx pgx.Tx) error {
			return provisioning.SetState(ctx, tx, id, number, active)
		})
	case 5:
		m.names[account] = fmt.Sprintf("%s %d", accountsOf[account], r.IntN(1000))
		w.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:"+account, `{"name":"`+m.names[account]+`"}`, "If-Match", "*")
	}
}

// check compares what is at ZITADEL with what is wanted.
func (m *model) check(w *world, seed uint64) {
	var want []string
	users := map[string]bool{} // who is wanted, and whether he may do anything
	for at, roles := range m.roles {
		line := at[1] + " in " + m.names[at[0]] + ": " + strings.Join(roles, ",")
		if m.inactive[at] {
			line += " (inactive)"
		}
		want = append(want, line)
		users[at[1]] = users[at[1]] || !m.inactive[at]
	}
	expect(w.t, fmt.Sprintf("seed %d: roles", seed), w.roles(), want...)
	there := map[string]bool{}
	for _, u := range w.z.Users() {
		name := strings.ToLower(u.LoginName)
		may, wanted := users[name]
		if there[name] || !wanted || may != (u.State == "active") {
			w.t.Errorf("seed %d: twice %t, wanted %t, may %t: %+v", seed, there[name], wanted, may, u)
		}
		there[name] = true
	}
	if len(there) != len(users) {
		w.t.Errorf("seed %d: %d of %d people", seed, len(there), len(users))
	}
	names := map[string]bool{}
	for _, o := range w.z.Organizations() {
		if names[o.Name] {
			w.t.Errorf("seed %d: two organizations %s", seed, o.Name)
		}
		names[o.Name] = true
	}
	if n := number(w.t, w.Server, `SELECT count(*) FROM issuer_organizations`); n != len(names) {
		w.t.Errorf("seed %d: %d organizations for %d accounts", seed, len(names), n)
	}
}

const (
	seedsOf = 27 // of each group
	groups  = 4
	steps   = 12
)

// Whatever goes wrong, in the end there is what is wanted: one organization an account, one user a person, the roles.
func TestWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	for group := range uint64(groups) {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 0)
			for seed := group * seedsOf; seed < (group+1)*seedsOf && !t.Failed(); seed++ {
				w.again(seed)
				w.oneSeed(seed)
			}
		})
	}
}

// again begins anew, with a ZITADEL of its own.
func (w *world) again(seed uint64) {
	w.t.Helper()
	w.z = zitadeltest.New(w.t, seed)
	if err := provisioning.Switch(w.t.Context(), w.Stores.Platform, w.z.URL); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Owner.Exec(w.t.Context(), `DELETE FROM issuer_grants; DELETE FROM issuer_users; DELETE FROM issuer_organizations; UPDATE accounts SET issuer_organization = NULL, name = initcap(key)`); err != nil {
		w.t.Fatal(err)
	}
	w.p = w.service(quick)
}

func (w *world) oneSeed(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	w.z.Lag(time.Duration(r.IntN(20)) * time.Millisecond)
	w.z.Misbehave(zitadeltest.Faults{Late: r.IntN(10), Lost: r.IntN(12), Closed: r.IntN(8), Error: r.IntN(8), Limited: r.IntN(5), Proxy: r.IntN(8), Broken: r.IntN(8), WrongID: r.IntN(8)})
	m := &model{roles: map[[2]string][]string{}, inactive: map[[2]string]bool{}, names: map[string]string{}}
	for key, name := range accountsOf {
		m.names[key] = name
	}
	ctx, stop := context.WithCancel(w.t.Context())
	var g errgroup.Group
	for _, p := range []*provisioning.Service{w.service(quick), w.service(quick)} { // two processes
		g.Go(func() error {
			for ctx.Err() == nil {
				if _, err := p.Once(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	}
	for range steps {
		m.step(w, r)
	}
	deadline := time.Now().Add(90 * time.Second) // several leases
	for number(w.t, w.Server, `SELECT count(*) FROM provisioning WHERE state <> 'synced'`) > 0 {
		if time.Sleep(2 * time.Millisecond); time.Now().After(deadline) {
			w.t.Errorf("seed %d: it does not settle: %v", seed, w.states())
			break
		}
	}
	stop()
	if err := g.Wait(); err != nil {
		w.t.Errorf("seed %d: %v", seed, err)
	}
	m.check(w, seed)
}
