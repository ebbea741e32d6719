package audit_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// store reads as the API does: an account's entries under the role that sees one account.
func (w *world) store(t testing.TB) *audit.Store {
	t.Helper()
	app := testkit.Pool(t, w.url, postgres.RoleApp)
	return audit.NewStore(func(ctx context.Context, account int64, f func(pgx.Tx) error) error {
		if account == 0 {
			return pgx.BeginFunc(ctx, w.platform, f)
		}
		return pgx.BeginTxFunc(ctx, app, pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN; SET LOCAL cockpit.account_id = '%d'", account)}, f)
	})
}

// Whatever is asked for: pages of any size together are exactly the entries that fit, newest first.
func TestSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.store(t)
	begin := w.now.Add(-time.Hour).UTC().Truncate(time.Second)
	var all []*audit.Entry
	for i := range 120 {
		e := w.entry(i)
		e.At = begin.Add(time.Duration(i/3) * time.Second) // several at a time
		if err := pgx.BeginFunc(t.Context(), w.platform, func(tx pgx.Tx) error { return w.log.Append(t.Context(), tx, e) }); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *audit.Entry) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return int(b.ID - a.ID)
	})
	rapid.Check(t, func(r *rapid.T) {
		maybe := func(name string, of ...string) string { return rapid.SampledFrom(append(of, "", "")).Draw(r, name) }
		f := audit.Filter{Account: rapid.SampledFrom(w.accounts).Draw(r, "account"), Actor: maybe("actor", "per_0", "per_1", "per_7"),
			Action: maybe("action", "team.created", "account.updated", "team.*", "tea.*"), ObjectKind: maybe("kind", "team", "user"), ObjectID: maybe("object", "team_1", "team_2"),
			RequestID: maybe("request", "req_7", "req_8", "req_9")}
		f.Sections = rapid.SampledFrom([][]int64{nil, nil, {}, {1}, {2}, {1, 2}}).Draw(r, "sections")
		if rapid.Bool().Draw(r, "from?") {
			f.From = begin.Add(time.Duration(rapid.IntRange(-1, 41).Draw(r, "from")) * time.Second)
		}
		if rapid.Bool().Draw(r, "to?") {
			f.To = begin.Add(time.Duration(rapid.IntRange(-1, 41).Draw(r, "to")) * time.Second)
		}
		var want, got []string
		for _, e := range all {
			if fits(&f, e) {
				want = append(want, e.RequestID)
			}
		}
		limit := rapid.IntRange(1, 50).Draw(r, "limit")
		for after := (audit.Place{}); ; {
			page, err := s.Page(t.Context(), f, after, limit)
			if err != nil {
				r.Fatal(err)
			}
			for i := range page {
				got = append(got, page[i].RequestID)
				after = page[i].Place()
			}
			if len(page) < limit {
				break
			}
		}
		if !slices.Equal(got, want) {
			r.Fatalf("%+v: got %v, want %v", f, got, want)
		}
	})
}

func fits(f *audit.Filter, e *audit.Entry) bool {
	asked := func(filter, value string) bool { return filter == "" || filter == value }
	action, _ := path.Match(f.Action, e.Action)
	return e.Account == f.Account && (f.Sections == nil || slices.Contains(f.Sections, e.Section)) && asked(f.Actor, e.Actor.ID) && (f.Action == "" || action) &&
		asked(f.ObjectKind, e.Object.Kind) && asked(f.ObjectID, e.Object.ID) && asked(f.RequestID, e.RequestID) &&
		(f.From.IsZero() || !e.At.Before(f.From)) && (f.To.IsZero() || e.At.Before(f.To))
}

// An entry is found by its id, with all that was written, and only by those who may see it.
func TestOneEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.store(t)
	e := w.entry(1)
	if err := pgx.BeginFunc(t.Context(), w.platform, func(tx pgx.Tx) error { return w.log.Append(t.Context(), tx, e) }); err != nil {
		t.Fatal(err)
	}
	page, err := s.Page(t.Context(), audit.Filter{Account: e.Account}, audit.Place{}, 1)
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	r, err := s.Entry(t.Context(), audit.Filter{Account: e.Account}, page[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if !r.At.Equal(e.At) || r.Account != "acc-0" || r.Section != "copilot" && r.Section != "console" || r.Actor != e.Actor || r.Action != e.Action || r.Object != e.Object ||
		len(r.Changes) != 1 || r.Changes[0].Field != "name" || string(r.Changes[0].After) != `"ü"` || r.Reason != e.Reason || r.RequestID != e.RequestID || r.Address != e.Address {
		t.Errorf("wrote %+v, read %+v", e, r)
	}
	for name, f := range map[string]audit.Filter{"another account": {Account: w.accounts[2]}, "the platform": {}, "another section": {Account: e.Account, Sections: []int64{e.Section + 1}}} {
		if _, err := s.Entry(t.Context(), f, r.ID); !errors.Is(err, audit.ErrAbsent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "aud_", "aud_0", "aud_-1", r.ID + "0", "acc_1", strings.ToUpper(r.ID), "aud_zzzzzzzzzzzzzzzz", "aud_0" + strings.TrimPrefix(r.ID, "aud_")} {
		if _, err := s.Entry(t.Context(), audit.Filter{Account: e.Account}, id); !errors.Is(err, audit.ErrAbsent) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// Files have every entry, and no cell that a spreadsheet takes for a formula.
func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.store(t)
	reasons := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'x", "a=b", "two\nlines", `"quoted", and more`, ""}
	for _, reason := range reasons {
		e := w.entry(1)
		e.Reason, e.Object.Name = reason, reason
		if err := pgx.BeginFunc(t.Context(), w.platform, func(tx pgx.Tx) error { return w.log.Append(t.Context(), tx, e) }); err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(reasons)
	f := audit.Filter{Account: w.accounts[1]}
	var file bytes.Buffer
	if err := audit.WriteCSV(&file, s.All(t.Context(), f)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(file.String(), ",=") || strings.Contains(file.String(), ",-") || strings.Contains(file.String(), ",@") {
		t.Errorf("a formula: %s", file.String())
	}
	lines, err := csv.NewReader(bytes.NewReader(file.Bytes())).ReadAll()
	if err != nil || len(lines) != 1+len(reasons) {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	for i, reason := range reasons {
		want := reason
		if i >= len(reasons)-6 { // the first six
			want = "'" + reason
		}
		if got := lines[i+1][14]; got != want {
			t.Errorf("line %d has %q, want %q", i, got, want)
		}
	}
	file.Reset()
	if err := audit.WriteNDJSON(&file, s.All(t.Context(), f)); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&file)
	for _, reason := range reasons {
		var r audit.Record
		if err := dec.Decode(&r); err != nil || r.Reason != reason {
			t.Errorf("got %q, want %q (%v)", r.Reason, reason, err)
		}
	}
}

// A file of any length is written as it is read: no more than a page is ahead of what was written, and no transaction stays
// open meanwhile. A reader that gives up ends it.
func TestExportIsStreamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	const n, page = 20_000, 1000
	if _, err := w.owner.Exec(t.Context(), `INSERT INTO audit_entries (at, actor, action, object_kind, object_id, changes, mac)
		SELECT now() + n * interval '1 ms', '{"kind":"person","id":"per_1","name":"Ada"}', 'team.created', 'team', n::text, '[]', '' FROM generate_series(1, $1) n`, n); err != nil {
		t.Fatal(err)
	}
	pages, open := 0, 0
	s := audit.NewStore(func(ctx context.Context, _ int64, f func(pgx.Tx) error) error {
		pages++
		open++
		defer func() { open-- }()
		return pgx.BeginFunc(ctx, w.platform, f)
	})
	written := 0
	err := audit.WriteNDJSON(writerFunc(func(p []byte) (int, error) {
		if written++; pages > written/page+1 || open > 0 {
			return 0, fmt.Errorf("%d pages were read for %d lines, %d transactions are open", pages, written, open)
		}
		return len(p), nil
	}), s.All(t.Context(), audit.Filter{}))
	if err != nil || written != n {
		t.Fatalf("%d lines: %v", written, err)
	}
	pages = 0
	if err := audit.WriteNDJSON(writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }), s.All(t.Context(), audit.Filter{})); !errors.Is(err, io.ErrClosedPipe) || pages != 1 {
		t.Errorf("went on for %d pages: %v", pages, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
