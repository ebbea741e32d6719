package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	largeUsers = 100_000
	largeTeams = 10_000
	largeTimes = 7 // of each figure
)

// largeAccount is the account: its teams are below one organization, each user in one.
const largeAccount = `WITH a AS (INSERT INTO accounts (key, name, time_zone, version) VALUES ('large', 'Large', 'UTC', (SELECT directory_version FROM deployment)) RETURNING account_id),
	r AS (INSERT INTO scopes (account_id, section_id, kind) SELECT account_id, (SELECT id FROM sections WHERE key = 'copilot'), 'account' FROM a RETURNING *)
	INSERT INTO account_sections (account_id, section_id, root_scope_id) SELECT account_id, section_id, id FROM r;
	INSERT INTO scope_plans (account_id, scope_id, plan_id, valid_from) SELECT s.account_id, s.root_scope_id, (SELECT min(id) FROM budget_plans), '2020-01-01' FROM account_sections s JOIN accounts a USING (account_id) WHERE a.key = 'large';
	CREATE TEMPORARY TABLE l AS SELECT s.* FROM account_sections s JOIN accounts a USING (account_id) WHERE a.key = 'large';
	INSERT INTO allocations (account_id, scope_id, kind, amount, valid_from, author) SELECT account_id, root_scope_id, 'fixed', 1000000000000, '2020-01-01', '' FROM l;
	INSERT INTO scopes (account_id, section_id, kind, key, name) SELECT account_id, section_id, 'organization', 'all', 'All' FROM l;
	INSERT INTO scopes (account_id, section_id, kind, key, name) SELECT account_id, section_id, 'team', 'team-' || lpad(n::text, 6, '0'), 'Team ' || n FROM l, generate_series(1, %[1]d) n;
	INSERT INTO users (account_id, key, name, email) SELECT account_id, 'u-' || lpad(n::text, 6, '0'), 'User ' || md5(n::text), 'u' || n || '@large.example' FROM l, generate_series(1, %[2]d) n;
	INSERT INTO scopes (account_id, section_id, kind, user_id) SELECT l.account_id, l.section_id, k, u.id FROM l JOIN users u USING (account_id), unnest(ARRAY['user', 'membership']) k;
	INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from)
		SELECT s.account_id, s.section_id, s.id, CASE s.kind WHEN 'organization' THEN l.root_scope_id WHEN 'team' THEN o.id ELSE t.id END, '2020-01-01'
		FROM l JOIN scopes s ON s.account_id = l.account_id AND s.kind IN ('organization', 'team', 'membership') JOIN scopes o ON o.account_id = l.account_id AND o.kind = 'organization'
		LEFT JOIN scopes t ON t.account_id = l.account_id AND t.kind = 'team' AND t.key = 'team-' || lpad((s.user_id %% %[1]d + 1)::text, 6, '0');
	INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from)
		SELECT s.account_id, s.section_id, s.user_id, s.id, '2020-01-01' FROM l JOIN scopes s ON s.account_id = l.account_id AND s.kind = 'membership';
	DROP TABLE l`

// largeUse is what half of the scopes used in the open cycle, and one in a hundred of them all that they may.
const largeUse = `INSERT INTO balance_pages (account_id, section_id, cycle_start, page, used, events, allocation)
	SELECT c.account_id, c.section_id, c.start_at, p, array_fill(CASE WHEN p % 200 = 0 THEN 10 ELSE 5 END::bigint, ARRAY[64]), array_fill(1::bigint, ARRAY[64]), array_fill(10::bigint, ARRAY[64])
	FROM cycles c JOIN accounts a USING (account_id), LATERAL (SELECT DISTINCT s.id / 64 AS p FROM scopes s WHERE s.account_id = a.account_id) x
	WHERE a.key = 'large' AND c.start_at <= now() AND c.end_at > now() AND p % 2 = 0; ANALYZE balance_pages`

// large is a table: what one account with 100,000 users and 10,000 teams costs.
func large(ctx context.Context, r *runner) (gate, error) {
	who := &adminOf{}
	c, err := r.control(ctx, who)
	if err != nil {
		return gate{}, err
	}
	fmt.Fprintf(r.o.Progress, "making an account with %d users in %d teams\n", largeUsers, largeTeams)
	if _, err = c.owner.Exec(ctx, fmt.Sprintf(largeAccount, largeTeams, largeUsers)); err != nil {
		return gate{}, err
	}
	if err = c.owner.QueryRow(ctx, `SELECT account_id FROM accounts WHERE key = 'large'`).Scan(&who.account); err != nil {
		return gate{}, err
	}
	if _, err = c.owner.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return gate{}, err
	}
	pool, err := postgres.Open(ctx, c.owner.Config().ConnString(), postgres.RoleMetering)
	if err != nil {
		return gate{}, err
	}
	if _, err := directory.EnsureCycles(ctx, pool, time.Now()); err != nil {
		return gate{}, err
	}
	if _, err := c.owner.Exec(ctx, largeUse); err != nil {
		return gate{}, err
	}
	l := &largeRun{controlled: c, pool: pool}
	if l.follower, err = directory.Follow(ctx, pool, slog.New(slog.DiscardHandler), time.Hour); err != nil {
		return gate{}, err
	}
	g := gate{close: func() { pool.Close(); c.close() }, ours: l.figures, once: true,
		settings: fmt.Sprintf("an account with %d users, a membership each, in %d teams of one organization; the median of %d", largeUsers, largeTeams, largeTimes)}
	for _, f := range l.all() {
		g.measures = append(g.measures, measure{what: f.what, unit: "ms"})
	}
	return g, nil
}

type largeRun struct {
	*controlled
	pool     *pgxpool.Pool
	follower *directory.Follower
	n        int
}

// figure is one of the table.
type figure struct {
	what string
	once func(context.Context) error
}

func (l *largeRun) all() []figure {
	const users, section = "/v1/accounts/key:large/users", "/v1/accounts/key:large/sections/key:copilot"
	get := func(path string) func(context.Context) error {
		return func(ctx context.Context) error { return l.get(ctx, path) }
	}
	return []figure{
		{"metering follows a user's change", l.follow},
		{"first page of users", get(users)}, {"users, search", get(users + "?q=ab12")}, {"users, search without a hit", get(users + "?q=nothing-like-it")},
		{"users of a team", get(users + "?section=key:copilot&team=key:team-000042")}, {"users of the organization", get(users + "?section=key:copilot&organization=key:all")},
		{"users without a team", get(users + "?without_team=true")}, {"users without use", get(users + "?without_use=true")},
		{"users over allocation", get(users + "?over_allocation=true")}, {"count of users", get(users + "?total=true")},
		{"first page of teams", get(section + "/teams")}, {"teams of the organization by name", get(section + "/teams?organization=key:all&sort=name")},
		{"first page of memberships", get(section + "/memberships")},
		{"a user moves", l.move}, {"a team is renamed", l.rename},
	}
}

func (l *largeRun) figures(ctx context.Context) (out []float64, err error) {
	for _, f := range l.all() {
		var times []time.Duration
		for range largeTimes {
			begin := time.Now()
			if err := f.once(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", f.what, err)
			}
			times = append(times, time.Since(begin))
		}
		slices.Sort(times)
		out = append(out, float64(times[len(times)/2].Microseconds())/1000)
	}
	return out, nil
}

// follow changes a user, and brings metering's snapshot up to date: the time of both.
func (l *largeRun) follow(ctx context.Context) error {
	if err := l.post(ctx, http.MethodPost, "/v1/accounts/key:large/users", fmt.Sprintf(`{"key":"more-%d","name":"One more"}`, l.next())); err != nil {
		return err
	}
	return l.follower.Refresh(ctx)
}

func (l *largeRun) next() int { l.n++; return l.n }

func (l *largeRun) move(ctx context.Context) error {
	return l.post(ctx, http.MethodPost, "/v1/accounts/key:large/sections/key:copilot/memberships", fmt.Sprintf(`{"user":"key:u-%06d","team":"key:team-000007","primary":true}`, 100*l.next()))
}

func (l *largeRun) rename(ctx context.Context) error {
	return l.post(ctx, http.MethodPost, fmt.Sprintf("/v1/accounts/key:large/sections/key:copilot/teams/key:team-%06d/rename", 20+l.next()), fmt.Sprintf(`{"key":"renamed-%d"}`, l.n))
}

func (l *largeRun) post(ctx context.Context, method, path, body string) error {
	r, err := http.NewRequestWithContext(ctx, method, l.server.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := l.server.Client().Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s: %d %s", path, resp.StatusCode, text)
	}
	return err
}
