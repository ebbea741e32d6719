package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stores are a Postgres with a directory as a template, and a broker with events.
type stores struct {
	dir      string
	kafka    *engine.Process // nil: not started
	postgres *engine.Process
	name     string
	template string // the database with the directory
	copies   int    // of it, that were made
	beside   bool   // the Postgres is another's
}

// open starts Postgres and makes the directory.
func open(ctx context.Context, o Options) (s *stores, err error) {
	dir, err := os.MkdirTemp("", "cockpit-bench-")
	if err != nil {
		return nil, err
	}
	s = &stores{dir: dir, name: "bench", template: "bench"}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	engines, err := engine.Install(ctx, o.Progress)
	if err != nil {
		return s, err
	}
	if s.postgres, err = (engine.Postgres{Engines: engines, Data: filepath.Join(dir, "postgres"), Logs: dir}).Start(ctx); err != nil {
		return s, err
	}
	return s, s.directory(ctx, o)
}

// openWithEvents starts a broker as well, and sends the usual events.
func openWithEvents(ctx context.Context, o Options) (*stores, error) {
	s, err := open(ctx, o)
	if err != nil {
		return s, err
	}
	if err := s.broker(ctx, o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// other is another broker with events of their own, over the same directory or one of their own. The name is theirs alone.
func (s *stores) other(ctx context.Context, o Options, name string, sameDirectory bool) (*stores, error) {
	n := &stores{dir: filepath.Join(s.dir, name), name: name, postgres: s.postgres, template: s.template, beside: true}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if !sameDirectory {
		n.template = name
		err = n.directory(ctx, o)
	}
	if err == nil {
		err = n.broker(ctx, o)
	}
	if err != nil {
		n.close()
	}
	return n, err
}

func (s *stores) broker(ctx context.Context, o Options) (err error) {
	if s.kafka, err = (engine.Kafka{Data: filepath.Join(s.dir, "kafka"), Logs: s.dir}).Start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "sending %d events of %d accounts with %d users each\n", o.Events, o.Accounts, o.Users)
	return s.fill(ctx, o)
}

func (s *stores) close() {
	if s.beside {
		for _, database := range []string{s.copy(), s.name} {
			_ = s.execute(context.Background(), "postgres", `DROP DATABASE IF EXISTS `+database+` WITH (FORCE)`)
		}
	}
	for _, p := range []*engine.Process{s.kafka, s.postgres} {
		if p != nil && (!s.beside || p != s.postgres) {
			_ = p.Stop()
		}
	}
	_ = os.RemoveAll(s.dir)
}

func (s *stores) url(database string) string {
	return strings.TrimSuffix(s.postgres.URL, "postgres") + database
}

// generate makes a directory by sets: an organization and four teams in each account, and every user in one team. Scopes are
// made account by account, as apply does, so that those of an account are neighbours.
const generate = `
INSERT INTO sources (key, mode, all_accounts) VALUES ('bench', 'meter', true);
INSERT INTO source_sections SELECT s.id, c.id FROM sources s, sections c WHERE c.key = 'copilot';
INSERT INTO models (section_id, key, provider) SELECT id, 'gpt-5', 'openai' FROM sections WHERE key = 'copilot';
INSERT INTO model_terms (model_id, free, policy, valid_from) SELECT id, false, 'listed', '2020-01-01' FROM models;
INSERT INTO model_prices (model_id, quantities, valid_from) SELECT id, '{"input_tokens":{"usd":"1.25","per":1000000},"output_tokens":{"usd":"10","per":1000000},"cached_input_tokens":{"usd":"0.125","per":1000000}}', '2020-01-01' FROM models;
INSERT INTO budget_plans (key) VALUES ('monthly');
INSERT INTO budget_plan_versions (plan_id, cycle, anchor, enforcement, thresholds, rollover) SELECT id, 'monthly', '2020-01-01', 'stop', '{50,80,100}', 'none' FROM budget_plans;
INSERT INTO accounts (key, name, time_zone, version) SELECT 'account-' || n, 'Account', 'UTC', 2 FROM generate_series(1, $1) n;
INSERT INTO users (account_id, key, name) SELECT account_id, 'user-' || n, 'User' FROM accounts, generate_series(1, $2) n;
INSERT INTO scopes (account_id, section_id, kind, key, name, user_id) SELECT x.* FROM (
	SELECT account_id, s.id, k.kind, nullif(k.key, ''), nullif(k.key, ''), k.user_id FROM accounts, sections s, LATERAL (
		SELECT 'account' AS kind, '' AS key, NULL::bigint AS user_id UNION ALL SELECT 'organization', 'org', NULL
		UNION ALL SELECT 'team', 'team-' || n, NULL FROM generate_series(0, 3) n
		UNION ALL SELECT k, '', u.id FROM users u, unnest(ARRAY['membership', 'user']) k WHERE u.account_id = accounts.account_id) k
	WHERE s.key = 'copilot' ORDER BY account_id, k.user_id NULLS FIRST) x;
ANALYZE users, scopes;
INSERT INTO account_sections (account_id, section_id, root_scope_id) SELECT account_id, section_id, id FROM scopes WHERE kind = 'account';
INSERT INTO scope_plans (account_id, scope_id, plan_id, valid_from) SELECT s.account_id, s.id, p.id, '2020-01-01' FROM scopes s, budget_plans p WHERE kind = 'account';
INSERT INTO allocations (account_id, scope_id, kind, amount, valid_from, author) SELECT account_id, id, 'fixed', 1000000000, '2020-01-01', 'bench' FROM scopes WHERE kind = 'account';
INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from)
	SELECT s.account_id, s.section_id, s.id, CASE s.kind WHEN 'organization' THEN r.root_scope_id WHEN 'team' THEN o.id ELSE t.id END, '2020-01-01'
	FROM scopes s JOIN account_sections r USING (account_id, section_id) JOIN scopes o ON o.account_id = s.account_id AND o.kind = 'organization'
	LEFT JOIN scopes t ON t.account_id = s.account_id AND t.kind = 'team' AND t.key = 'team-' || s.user_id % 4
	WHERE s.kind IN ('organization', 'team', 'membership');
INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from) SELECT account_id, section_id, user_id, id, '2020-01-01' FROM scopes WHERE kind = 'membership';
UPDATE deployment SET directory_version = 2`

func (s *stores) directory(ctx context.Context, o Options) error {
	fmt.Fprintf(o.Progress, "making %d accounts with %d users each\n", o.Accounts, o.Users)
	if err := s.execute(ctx, "postgres", `CREATE DATABASE `+s.template); err != nil {
		return err
	}
	if _, err := postgres.Migrate(ctx, s.url(s.template)); err != nil {
		return err
	}
	sql := strings.NewReplacer("$1", fmt.Sprint(o.Accounts), "$2", fmt.Sprint(o.Users)).Replace(generate)
	if err := s.execute(ctx, s.template, sql); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	pool, err := postgres.Open(ctx, s.url(s.template), postgres.RoleMetering)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err = directory.EnsureCycles(ctx, pool, time.Now()); err != nil {
		return err
	}
	// A cycle that is under way: everybody has been charged before.
	return s.execute(ctx, s.template, `INSERT INTO balance_pages (account_id, section_id, cycle_start, page, used, events)
		SELECT DISTINCT s.account_id, s.section_id, c.start_at, s.id / 64, array_fill(0::bigint, ARRAY[64]), array_fill(0::bigint, ARRAY[64])
		FROM scopes s JOIN LATERAL (SELECT max(start_at) AS start_at FROM cycles c WHERE c.account_id = s.account_id AND c.section_id = s.section_id) c ON true; ANALYZE`)
}

// database makes a fresh copy of the template, in the place of the one before.
func (s *stores) database(ctx context.Context) (string, error) {
	if s.copies > 0 {
		if err := s.execute(ctx, "postgres", `DROP DATABASE `+s.copy()+` WITH (FORCE)`); err != nil {
			return "", err
		}
	}
	s.copies++
	return s.url(s.copy()), s.execute(ctx, "postgres", `CREATE DATABASE `+s.copy()+` TEMPLATE `+s.template)
}

func (s *stores) copy() string { return fmt.Sprintf("%s_%d", s.name, s.copies) }

func (s *stores) execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// one reads a row of the copy.
func (s *stores) one(ctx context.Context, sql string, into ...any) error {
	conn, err := pgx.Connect(ctx, s.url(s.copy()))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.QueryRow(ctx, sql).Scan(into...)
}

// fill sends the usual events, 1 % of them twice, straight home.
func (s *stores) fill(ctx context.Context, o Options) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.URL), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MaxBufferedRecords(50_000), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := topics.Ensure(ctx, kadm.NewClient(cl), o.usagePartitions()); err != nil {
		return err
	}
	var failed error
	for n := range o.Events {
		id := n
		if n%100 == 99 {
			id--
		}
		r, err := usual(id, o)
		if err != nil {
			return err
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// usual is the usual event, of about 370 bytes.
func usual(n int, o Options) (*kgo.Record, error) {
	account, user := fmt.Sprintf("account-%d", n%o.Accounts+1), fmt.Sprintf("user-%d", n/o.Accounts%o.Users+1)
	id := fmt.Sprintf("%s%014d", idPrefix, n)
	value, err := event(account, user, id, n)
	return &kgo.Record{Topic: topics.Usage, Key: []byte(account + "/bench/" + id), Value: value}, err
}

// idPrefix stands before the number in a usual event's id.
const idPrefix = "01JD8X2M7Q4Z"

func event(account, user, id string, n int) ([]byte, error) {
	return json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": "bench", "type": "cockpit.usage.v1", "time": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		"data": map[string]any{"account": account, "section": "copilot", "user": user, "model": "gpt-5", "operation": "chat",
			"agent": "triage", "tool": nil, "quantities": map[string]int{"input_tokens": 1200 + n%100, "output_tokens": 350, "cached_input_tokens": 800, "requests": 1},
			"latency_ms": 840, "status": "ok", "trace_id": "4bf92f3577b34da6a3ce", "labels": map[string]string{"env": "prod"}}})
}
