package keys_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/keys"
)

const ofAcme = "/v1/accounts/key:acme/keys"

type key struct {
	ID, Key, State string
	LastFour       string `json:"last_four"`
	AllSources     bool   `json:"all_sources"`
	Sources        []string
	AllAccounts    bool `json:"all_accounts"`
	Accounts       []string
	PreviousUntil  *time.Time `json:"previous_until"`
	LastUsedAt     *time.Time `json:"last_used_at"`
}

func create(t *testing.T, c *controltest.Client, path, body string) (k key) {
	t.Helper()
	c.Want(http.StatusCreated, http.MethodPost, path, body).Into(&k)
	if !keys.WellFormed(k.Key) || k.LastFour != k.Key[len(k.Key)-4:] {
		t.Fatalf("%+v", k)
	}
	return k
}

// takes says whether a process that has not seen the text before takes it.
func takes(t *testing.T, s *controltest.Server, text string) bool {
	t.Helper()
	_, err := keys.NewStore(s.Metering).Authenticate(t.Context(), text)
	if err != nil && !errors.Is(err, keys.ErrUnknown) {
		t.Fatal(err)
	}
	return err == nil
}

func TestAKeyOfAnAccountIsForThatAccountAlone(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	k := create(t, admin, ofAcme, `{"name":"gateway","sources":["key:alchemi-web"]}`)
	p, err := keys.NewStore(s.Metering).Authenticate(t.Context(), k.Key)
	if err != nil || p.AllAccounts || !slices.Equal(p.Accounts, []string{"acme"}) || len(p.Sources) != 1 {
		t.Errorf("%+v %v", p, err)
	}
	if r := admin.Want(http.StatusOK, http.MethodGet, ofAcme, ""); strings.Contains(string(r.Body), k.Key) {
		t.Errorf("a list shows the text: %s", r.Body)
	}
	if r := admin.Want(http.StatusOK, http.MethodGet, ofAcme+".csv", ""); strings.Contains(string(r.Body), k.Key) || !strings.Contains(string(r.Body), k.LastFour) {
		t.Errorf("the CSV: %s", r.Body)
	}
	var shown key
	if admin.Want(http.StatusOK, http.MethodGet, ofAcme+"/"+k.ID, "").Into(&shown); shown.Key != "" || shown.LastUsedAt == nil {
		t.Errorf("%+v", shown)
	}
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE action = 'key.created' AND changes::text NOT LIKE '%' || $1 || '%'`, k.Key).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d entries of making it, without its text: %v", n, err)
	}
	var platform struct{ Items []key }
	if s.As("super_admin").Want(http.StatusOK, http.MethodGet, "/v1/platform/keys", "").Into(&platform); len(platform.Items) != 0 {
		t.Errorf("the platform lists an account's key: %+v", platform)
	}
	s.As("super_admin").Want(http.StatusNotFound, http.MethodPost, "/v1/platform/keys/"+k.ID+"/rotate", `{"overlap_minutes":1}`)
	s.As("super_admin").Want(http.StatusNotFound, http.MethodPost, "/v1/platform/keys/"+k.ID+"/revoke", "")
}

func TestWhatAKeyCannotBe(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO sources (key, mode, all_accounts) VALUES ('of-globex', 'meter', false);
		INSERT INTO source_accounts SELECT a.account_id, s.id FROM accounts a, sources s WHERE a.key = 'globex' AND s.key = 'of-globex'`); err != nil {
		t.Fatal(err)
	}
	admin, super := s.As("account_admin:acme"), s.As("super_admin")
	foreign := admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, `{"name":"x","sources":["key:of-globex"]}`)
	absent := admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, `{"name":"x","sources":["key:of-nobody"]}`)
	if cut := func(b []byte) string { before, _, _ := strings.Cut(string(b), "request_id"); return before }; cut(foreign.Body) != cut(absent.Body) {
		t.Errorf("a foreign source answers %s, and an absent one %s", foreign.Body, absent.Body)
	}
	for _, body := range []string{`{}`, `{"name":""}`, `{"name":"` + strings.Repeat("n", 201) + `"}`, `{"name":"x","expires_at":"2020-01-01T00:00:00Z"}`, `{"name":"x","expires_at":"soon"}`,
		`{"name":"x","accounts":["key:globex"]}`, `{"name":"x","sources":[""]}`, `{"name":"x","sources":[1]}`, `{"name":"x","key":"ck_mine"}`} {
		admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, body)
	}
	for _, body := range []string{`{"name":"x"}`, `{"name":"x","accounts":["key:acme"],"all_accounts":true}`, `{"name":"x","accounts":["key:acme","key:nobody"]}`, `{"name":"x","accounts":["acc_0"]}`} {
		super.Want(http.StatusUnprocessableEntity, http.MethodPost, "/v1/platform/keys", body)
	}
	k := create(t, admin, ofAcme, `{"name":"x"}`)
	for _, body := range []string{`{}`, `{"overlap_minutes":-1}`, `{"overlap_minutes":43201}`, `{"overlap_minutes":1.5}`} {
		admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme+"/"+k.ID+"/rotate", body)
	}
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodPost, ofAcme+"/"+k.ID+"/revoke", "")
	s.As("section_admin:acme/copilot").Want(http.StatusForbidden, http.MethodGet, ofAcme, "")
	s.As("account_admin:globex").Want(http.StatusNotFound, http.MethodPost, "/v1/accounts/key:globex/keys/"+k.ID+"/revoke", "")
	if !takes(t, s, k.Key) {
		t.Error("another account revoked it")
	}
}

func TestRotating(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	first := create(t, admin, ofAcme, `{"name":"gateway"}`)
	rotate := func(minutes int) (k key) {
		admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+first.ID+"/rotate", fmt.Sprintf(`{"overlap_minutes":%d}`, minutes)).Into(&k)
		return k
	}
	good := func(texts ...string) (is []bool) {
		for _, text := range texts {
			is = append(is, takes(t, s, text))
		}
		return is
	}
	second := rotate(60)
	if second.ID != first.ID || second.PreviousUntil == nil || !slices.Equal(good(first.Key, second.Key), []bool{true, true}) {
		t.Fatalf("%+v", second)
	}
	third := rotate(60)
	if got := good(first.Key, second.Key, third.Key); !slices.Equal(got, []bool{false, true, true}) {
		t.Errorf("after two rotations: %v", got)
	}
	fourth := rotate(0)
	if got := good(second.Key, third.Key, fourth.Key); !slices.Equal(got, []bool{false, false, true}) {
		t.Errorf("after one without overlap: %v", got)
	}
	fifth := rotate(60)
	if _, err := s.Owner.Exec(t.Context(), `UPDATE service_keys SET previous_until = now()`); err != nil {
		t.Fatal(err)
	}
	if got := good(fourth.Key, fifth.Key); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("after the overlap: %v", got)
	}
	sixth := rotate(60)
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+first.ID+"/revoke", "")
	if got := good(fifth.Key, sixth.Key); !slices.Equal(got, []bool{false, false}) {
		t.Errorf("revoked: %v", got)
	}
	if r := admin.Want(http.StatusConflict, http.MethodPost, ofAcme+"/"+first.ID+"/rotate", `{"overlap_minutes":1}`); r.Code() != "key_revoked" {
		t.Errorf("%s", r.Body)
	}
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+first.ID+"/revoke", "")
	short := create(t, admin, ofAcme, `{"name":"short","expires_at":"`+s.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	var rotated key
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+short.ID+"/rotate", `{"overlap_minutes":600}`).Into(&rotated)
	if !rotated.PreviousUntil.Before(s.Now().Add(61 * time.Minute)) {
		t.Errorf("the text before outlives the key: %s", rotated.PreviousUntil)
	}
	s.Advance(2 * time.Hour)
	if r := admin.Want(http.StatusConflict, http.MethodPost, ofAcme+"/"+short.ID+"/rotate", `{"overlap_minutes":1}`); r.Code() != "key_expired" {
		t.Errorf("%s", r.Body)
	}
	var list struct{ Items []key }
	if admin.Want(http.StatusOK, http.MethodGet, ofAcme+"?state=expired", "").Into(&list); len(list.Items) != 1 || list.Items[0].ID != short.ID {
		t.Errorf("%+v", list)
	}
}

// A process that took a text goes on taking it for cacheFor at most: what it remembers is from before it looked.
func TestARevokedKeyStops(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	k := create(t, admin, ofAcme, `{"name":"gateway"}`)
	store := keys.NewStore(s.Metering)
	if _, err := store.Authenticate(t.Context(), k.Key); err != nil {
		t.Fatal(err)
	}
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+k.ID+"/revoke", "")
	revoked := time.Now()
	for {
		begin := time.Now()
		if _, err := store.Authenticate(t.Context(), k.Key); errors.Is(err, keys.ErrUnknown) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if begin.Sub(revoked) > 2*time.Second { // asked later than that, and it was taken
			t.Fatalf("taken %s after it was revoked", begin.Sub(revoked))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestAKeyOfSeveralAccounts(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	k := create(t, super, "/v1/platform/keys", `{"name":"eu","sources":["key:litellm"],"accounts":["key:acme","key:globex","key:acme"]}`)
	p, err := keys.NewStore(s.Metering).Authenticate(t.Context(), k.Key)
	if err != nil || p.AllAccounts || !slices.Equal(p.Accounts, []string{"acme", "globex"}) || !slices.Equal(k.Accounts, p.Accounts) {
		t.Errorf("%+v %v", p, err)
	}
	all := create(t, super, "/v1/platform/keys", `{"name":"all","all_accounts":true}`)
	if p, err := keys.NewStore(s.Metering).Authenticate(t.Context(), all.Key); err != nil || !p.AllAccounts || len(p.Accounts) != 0 || len(p.Sources) != 4 {
		t.Errorf("%+v %v", p, err)
	}
	for account, want := range map[string]int{"acme": 2, "initech": 1} {
		var list struct{ Items []key }
		if super.Want(http.StatusOK, http.MethodGet, "/v1/platform/keys?account=key:"+account, "").Into(&list); len(list.Items) != want {
			t.Errorf("%s: %+v", account, list)
		}
	}
	s.As("account_admin:acme").Want(http.StatusNotFound, http.MethodGet, ofAcme+"/"+k.ID, "")
	if _, err := s.Owner.Exec(t.Context(), `DELETE FROM service_key_accounts`); err != nil {
		t.Fatal(err)
	}
	if p, err := keys.NewStore(s.Metering).Authenticate(t.Context(), k.Key); err != nil || p.AllAccounts || len(p.Accounts) != 0 {
		t.Errorf("a key whose accounts are gone: %+v %v", p, err)
	}
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/keys/"+k.ID+"/revoke", "")
	if takes(t, s, k.Key) {
		t.Error("revoked, and taken")
	}
}

// However many are made at once, an account has no more keys than its limit.
func TestTheLimitOfKeys(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	const limit, at = 5, 20
	s.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", fmt.Sprintf(`{"limits":{"keys":%d}}`, limit), "If-Match", "*")
	admin := s.As("account_admin:acme")
	var wait sync.WaitGroup
	answers := make([]*controltest.Response, at)
	for i := range at {
		wait.Go(func() {
			r, err := admin.Try(t.Context(), http.MethodPost, ofAcme, `{"name":"one of many"}`)
			if err != nil {
				t.Error(err)
			}
			answers[i] = r
		})
	}
	wait.Wait()
	made := map[string]int{}
	for _, r := range answers {
		made[fmt.Sprint(r.Status, r.Code())]++
	}
	if made["201"] != limit || made["409keys_limit"] != at-limit {
		t.Errorf("%v", made)
	}
	var list struct{ Items []key }
	admin.Want(http.StatusOK, http.MethodGet, ofAcme, "").Into(&list)
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+list.Items[0].ID+"/rotate", `{"overlap_minutes":60}`)
	admin.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+list.Items[0].ID+"/revoke", "")
	create(t, admin, ofAcme, `{"name":"instead"}`)
	if _, _, err := keys.NewStore(s.Metering).Create(t.Context(), keys.New{Name: "by command", Account: "acme"}); err == nil {
		t.Error("the command line passes over the limit")
	}
	create(t, s.As("account_admin:globex"), "/v1/accounts/key:globex/keys", `{"name":"no limit"}`)
}

// The same request twice, in parallel, under one key: one effect, and one text.
func TestMadeOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	var wait sync.WaitGroup
	texts := make([]string, 8)
	for i := range texts {
		wait.Go(func() {
			r, err := admin.Try(t.Context(), http.MethodPost, ofAcme, `{"name":"once"}`, "Idempotency-Key", "k1")
			if err != nil || r.Status != http.StatusCreated {
				t.Errorf("%v %+v", err, r)
				return
			}
			var k key
			r.Into(&k)
			texts[i] = k.Key
		})
	}
	wait.Wait()
	if slices.Sort(texts); len(slices.Compact(texts)) != 1 {
		t.Errorf("%d texts", len(slices.Compact(texts)))
	}
}
