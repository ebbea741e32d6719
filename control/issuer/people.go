package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// directory is what the issuer takes from the cockpit's own tables.
type directory struct {
	pool *pgxpool.Pool
	url  string
}

// somebody is who can be picked.
type somebody struct {
	role, account, section string // keys; empty where the role has no such place
	name, email            string
	organization, domain   string // where the person belongs at the issuer
	accountID, sectionID   int64
}

var errNobody = errors.New("there is no such person")

// subject names somebody; Find reads it.
func (p somebody) subject() string {
	switch {
	case p.section != "":
		return p.role + "@" + p.account + "/" + p.section
	case p.account != "":
		return p.role + "@" + p.account
	}
	return p.role
}

// vouched is what the issuer itself says of somebody's roles.
func (p somebody) vouched() map[string]map[string]string {
	switch p.role {
	case "super_admin", "account_admin", "end_user":
		return map[string]map[string]string{p.role: {p.organization: p.domain}}
	}
	return map[string]map[string]string{}
}

// find gives the person of a subject. It fails with errNobody where the role, account or section is none.
func (d directory) find(ctx context.Context, subject string) (p somebody, err error) {
	role, place, _ := strings.Cut(subject, "@")
	p.role = role
	if p.role == "super_admin" && place == "" {
		p.name, p.email, p.organization, p.domain = "Sam", "sam@platform.example", Organization, "platform.example"
		return p, nil
	}
	p.account, p.section, _ = strings.Cut(place, "/")
	title, ok := map[string]string{"account_admin": "Admin", "account_viewer": "Viewer", "section_admin": "Section admin", "end_user": "End user"}[p.role]
	if !ok || (p.section != "") != (p.role == "section_admin") {
		return p, errNobody
	}
	var account string
	err = d.pool.QueryRow(ctx, `WITH given AS (UPDATE accounts SET issuer_organization = 'dev-' || key WHERE key = $1 AND issuer_organization IS NULL)
		SELECT account_id, name, coalesce(issuer_organization, 'dev-' || key),
			coalesce((SELECT x.section_id FROM account_sections x JOIN sections s ON s.id = x.section_id WHERE x.account_id = a.account_id AND s.key = $2), 0)
		FROM accounts a WHERE key = $1`, p.account, p.section).Scan(&p.accountID, &account, &p.organization, &p.sectionID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && p.section != "" && p.sectionID == 0 {
		return p, errNobody
	}
	if err != nil {
		return p, fmt.Errorf("look up %s: %w", subject, err)
	}
	p.domain = p.account + ".example"
	p.name, p.email = title+" of "+account, strings.ReplaceAll(p.role, "_", "-")+"@"+p.domain
	if p.section != "" {
		p.name += ", " + p.section
	}
	return p, nil
}

// admit writes somebody down, so that tokens need not say the name, and gives the roles that only the cockpit gives.
func (d directory) admit(ctx context.Context, p somebody) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var person int64
		err := tx.QueryRow(ctx, `INSERT INTO people (issuer, subject, name, email) VALUES ($1, $2, $3, $4)
			ON CONFLICT (issuer, subject) DO UPDATE SET name = excluded.name RETURNING id`, d.url, p.subject(), p.name, p.email).Scan(&person)
		if err != nil || p.role != "account_viewer" && p.role != "section_admin" {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO assignments (account_id, person_id, role, section_id) VALUES ($1, $2, $3, nullif($4, 0)) ON CONFLICT DO NOTHING`,
			p.accountID, person, p.role, p.sectionID)
		return err
	})
}

// shownMax is how many accounts the page shows.
const shownMax = 20

// subjects are who the page shows: of the first accounts, one of each role.
func (d directory) subjects(ctx context.Context) ([]string, error) {
	rows, err := d.pool.Query(ctx, `SELECT a.key, ARRAY(SELECT s.key FROM account_sections x JOIN sections s ON s.id = x.section_id WHERE x.account_id = a.account_id ORDER BY 1)
		FROM accounts a ORDER BY a.account_id LIMIT $1`, shownMax)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	all := []string{"super_admin"}
	var account string
	var sections []string
	_, err = pgx.ForEachRow(rows, []any{&account, &sections}, func() error {
		for _, role := range []string{"account_admin", "account_viewer", "end_user"} {
			all = append(all, somebody{role: role, account: account}.subject())
		}
		for _, section := range sections {
			all = append(all, somebody{role: "section_admin", account: account, section: section}.subject())
		}
		return nil
	})
	return all, err
}

// registered is a program of somebody else that may sign people in here.
type registered struct {
	id      string
	origins []string
}

func (d directory) clients(ctx context.Context) ([]registered, error) {
	rows, err := d.pool.Query(ctx, `SELECT client_id, origins FROM clients WHERE issuer = $1 AND state = 'active'`, d.url)
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c registered, err error) {
		return c, row.Scan(&c.id, &c.origins)
	})
}
