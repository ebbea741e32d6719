package directory

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// somebody is an account of one section, two teams and one user whose memberships, parents and identities change over time.
func somebody(t *rapid.T) *account {
	times := func(label string, max int) []int64 {
		n := rapid.SliceOfNDistinct(rapid.Int64Range(1, 100), 1, max, rapid.ID[int64]).Draw(t, label)
		slices.Sort(n)
		return n
	}
	steps := func(label string, scope int64) (l lineage) {
		l.scope = scope
		for _, at := range times(label, 3) {
			l.steps = append(l.steps, step{from: at, path: &Path{Scopes: []int64{1, at, scope}}})
		}
		return l
	}
	sec := &section{id: 1, root: &Path{Scopes: []int64{1}}, teams: map[string]*lineage{}}
	for i, key := range []string{"red", "blue"} {
		l := steps(key, int64(10+i))
		sec.teams[key] = &l
	}
	st := &standing{section: sec, scope: 5}
	for i, to := range times("ends", 3) {
		st.memberships = append(st.memberships, membership{id: int64(i), team: int64(10 + i%2), to: to, above: steps(fmt.Sprint("m", i), int64(20+i))})
	}
	for i, from := range times("primaries", 3) {
		st.primaries = append(st.primaries, primary{from: from, to: math.MaxInt64, membership: int64(i % len(st.memberships))})
	}
	u := &user{id: 7, standings: []standing{*st}}
	a := &account{id: 1, users: map[string]*user{"u": u}, sections: map[string]*section{"s": sec}, identities: map[string][]identity{}}
	for _, to := range times("identities", 2) {
		a.identities["external"] = append(a.identities["external"], identity{source: "src", user: u, to: to})
	}
	return a
}

// What is remembered is what would be found anew, at every time and in whatever order it is asked.
func TestPlacesAreAsFoundAnew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := somebody(t)
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			r := &Request{Source: rapid.SampledFrom([]string{"src", "other"}).Draw(t, "source"), Section: "s",
				User: rapid.SampledFrom([]string{"u", "external", "stranger", ""}).Draw(t, "user"),
				Team: rapid.SampledFrom([]string{"red", "blue", "none", ""}).Draw(t, "team"), TimeMicros: rapid.Int64Range(0, 110).Draw(t, "at")}
			got := a.place(r, placeHash(r))
			want := place{section: a.sections["s"], from: math.MinInt64, to: math.MaxInt64}
			want.resolve(a, r)
			if got.path != want.path || got.member != want.member || got.user != want.user || got.userID != want.userID || got.flags != want.flags {
				t.Fatalf("%+v: remembered %+v, anew %+v", r, got, want)
			}
		}
	})
}

func TestPlacesAreBoundedAndSafeToShare(t *testing.T) {
	t.Parallel()
	a := &account{id: 1, users: map[string]*user{}, sections: map[string]*section{"s": {id: 1, root: &Path{Scopes: []int64{1}}}}, identities: map[string][]identity{}}
	for i := range 1000 {
		a.users[fmt.Sprint(i)] = &user{id: int64(i + 1)}
	}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for i := range 20_000 {
				r := &Request{Section: "s", User: fmt.Sprint(i % 1000), Team: fmt.Sprint("t", i/1000)}
				if got := a.place(r, placeHash(r)); got.userID != int64(i%1000+1) {
					t.Errorf("user %d is taken for %d", i%1000+1, got.userID)
					return
				}
			}
		})
	}
	workers.Wait()
	if most := placesPerUser * (1000 + placeSlotsMin); a.places.count != most {
		t.Errorf("%d are remembered, at most %d may be", a.places.count, most)
	}
}
