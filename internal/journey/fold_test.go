package journey_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
)

// charge is a journal row of one position that charges acme's root in copilot.
func (d *deployment) charge(at int64, credits int64) *journal.Row {
	d.t.Helper()
	var account, section, root, cycle int64
	d.must(d.pool.QueryRow(d.t.Context(), `SELECT a.account_id, s.section_id, s.root_scope_id, extract(epoch FROM c.start_at)::bigint FROM accounts a JOIN account_sections s USING (account_id)
		JOIN sections k ON k.id = s.section_id JOIN cycles c ON c.account_id = a.account_id AND c.section_id = k.id AND c.start_at <= now() AND c.end_at > now()
		WHERE a.key = 'acme' AND k.key = 'copilot'`).Scan(&account, &section, &root, &cycle))
	b := body.Body{Paths: []body.Path{{Account: account, Section: section, CycleStart: cycle, Scopes: []int64{root}}},
		Entries: []body.Entry{{Decision: body.Charged, Position: at, Identity: [16]byte{byte(at)}, TimeMicros: time.Now().UnixMicro(), Charge: body.Charge{Credits: credits}}}}
	var e body.Encoder
	return &journal.Row{From: at, To: at + 1, Kind: journal.Batch, ID: uuid.New(), MinTime: time.Now(), MaxTime: time.Now(), Counts: journal.Counts{Charged: 1}, Body: e.Append(nil, at, &b)}
}

func (d *deployment) log(partition int32) *journal.Lease {
	d.t.Helper()
	l, err := d.store.Take(d.t.Context(), journal.Partition{ClusterID: "c", TopicID: "id", Topic: "usage.v1", Partition: partition}, 2, 0)
	d.must(err)
	return &l
}

func (d *deployment) fold() {
	d.t.Helper()
	_, err := d.folder.Once(d.t.Context())
	d.must(err)
}

// checkpoint is what the fold has summed up over all scopes.
func (d *deployment) checkpoint() string {
	d.t.Helper()
	var sum int64
	d.must(d.pool.QueryRow(d.t.Context(), `SELECT coalesce(sum(u), 0)::bigint FROM balance_pages, unnest(used) u`).Scan(&sum))
	return fmt.Sprint(sum)
}

// A row whose transaction commits after rows of other logs were folded is folded next.
func TestARowThatCommitsLateIsFolded(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	slow, quick := d.log(0), d.log(1)
	r := d.charge(0, 5)
	tx, err := d.pool.Begin(t.Context())
	d.must(err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `INSERT INTO journal (offsets_id, from_pos, to_pos, kind, generation, epoch, batch_id, min_time, max_time, charged, duplicate, observed, quarantined, moved, body)
		VALUES ($1, $2, $3, 'batch', 1, 1, $4, now(), now(), 1, 0, 0, 0, 0, $5)`, slow.LogID, r.From, r.To, r.ID, r.Body)
	d.must(err)
	d.must(d.store.Commit(t.Context(), quick, d.charge(0, 70)))
	d.fold()
	if got := d.checkpoint(); got != "70" {
		t.Fatalf("folded %s", got)
	}
	d.must(tx.Commit(t.Context()))
	for range 2 {
		d.fold()
		if got := d.checkpoint(); got != "75" {
			t.Fatalf("folded %s after the other row was committed, want 75", got)
		}
	}
}

// A fold that fails after it has added up changed nothing, and the next one adds the same.
func TestAFoldThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	d.must(d.store.Commit(t.Context(), d.log(0), d.charge(0, 90_000_000_000))) // of 100,000 credits: it crosses thresholds
	owner := func(sql string) {
		t.Helper()
		_, err := d.pool.Exec(t.Context(), `RESET ROLE; `+sql+`; SET ROLE cockpit_metering`)
		d.must(err)
	}
	owner(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no alerts today''; END'; CREATE TRIGGER refuse BEFORE INSERT ON alerts EXECUTE FUNCTION refuse()`)
	if _, err := d.folder.Once(t.Context()); err == nil {
		t.Fatal("the fold did not fail")
	}
	if got := d.checkpoint(); got != "0" {
		t.Fatalf("a fold that failed left %s", got)
	}
	owner(`DROP TRIGGER refuse ON alerts`)
	d.fold()
	if got := d.checkpoint(); got != "90000000000" {
		t.Fatalf("folded %s, want 90000000000", got)
	}
}
