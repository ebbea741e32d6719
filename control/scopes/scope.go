package scopes

import (
	"context"
	"errors"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Scope is an organization or a team as the API shows it.
type Scope struct {
	ID        string    `json:"id" example:"tem_1"`
	Key       string    `json:"key" example:"support" doc:"what products name it by"`
	Aliases   []string  `json:"aliases,omitempty" doc:"keys that it had before: products may go on naming it so"`
	Name      string    `json:"name" example:"Support"`
	State     string    `json:"state" enum:"active,inactive" doc:"inactive: it stands below nothing; what was charged to it stays"`
	Parent    *Parent   `json:"parent,omitempty" doc:"absent where it is inactive"`
	CreatedAt time.Time `json:"created_at"`

	number, revision int64
}

// Parent is what something stands below.
type Parent struct {
	Kind string `json:"kind" enum:"account,organization,team"`
	ID   string `json:"id" example:"org_1"`
	Key  string `json:"key" example:"eng"`
	Name string `json:"name" example:"Engineering"`
}

// newParent reads a parent: of a scope, or of the account itself.
func newParent(kind string, account, scope int64, key, name string) *Parent {
	p := &Parent{Kind: kind, Key: key, Name: name}
	switch kind {
	case api.TeamKind.Name:
		p.ID = api.TeamKind.ID(scope)
	case api.OrganizationKind.Name:
		p.ID = api.OrganizationKind.ID(scope)
	default:
		p.ID = api.AccountKind.ID(account)
	}
	return p
}

const (
	columns = `s.account_id, s.id, s.kind, s.revision, s.key, coalesce(s.name, s.key), s.created_at,
		ARRAY(SELECT x.key FROM key_aliases x WHERE x.account_id = s.account_id AND x.scope_id = s.id ORDER BY x.id), ` + parentColumns
	// parentColumns are what p links to: the scope o, of the account a.
	parentColumns = `coalesce(o.id, 0), coalesce(o.kind, ''), coalesce(o.key, a.key), coalesce(o.name, a.name)`
	tables        = `scopes s JOIN accounts a ON a.account_id = s.account_id
		LEFT JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity' ` + parentTables
	parentTables = `LEFT JOIN scopes o ON o.account_id = p.account_id AND o.id = p.parent_id`
)

func scan(row pgx.CollectableRow) (s Scope, err error) {
	var account, parent int64
	var kind, parentKind, parentKey, parentName string
	err = row.Scan(&account, &s.number, &kind, &s.revision, &s.Key, &s.Name, &s.CreatedAt, &s.Aliases, &parent, &parentKind, &parentKey, &parentName)
	s.ID, s.State = newParent(kind, account, s.number, "", "").ID, "inactive"
	if parent != 0 {
		s.State, s.Parent = "active", newParent(parentKind, account, parent, parentKey, parentName)
	}
	return s, err
}

// nameMax is how many characters a name has at most, as the tags of inputs say too.
const nameMax = 200

func (s *Scope) answer() *api.Answer[Scope] { return api.NewAnswer(s.revision, *s) }

// load reads an organization or a team of the section.
func load(ctx context.Context, c *api.Call, kind api.Kind, ref api.Ref) (*Scope, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM `+tables+` WHERE s.account_id = $1 AND s.section_id = $2 AND s.kind = $3 AND (s.id = $4 OR s.key = $5
			OR s.id = (SELECT scope_id FROM key_aliases WHERE account_id = $1 AND section_id = $2 AND kind = $3 AND key = $5))`,
		c.Account.ID, c.Section.ID, kind.Name, ref.ID, ref.Key)
	s, err := api.One(kind, rows, err, scan)
	return &s, err
}

// touch gives it the next revision, and reads it as it is then.
func (s *Scope) touch(ctx context.Context, c *api.Call, kind api.Kind) error {
	if _, err := c.Tx.Exec(ctx, `UPDATE scopes SET name = $3, revision = revision + 1 WHERE account_id = $1 AND id = $2`, c.Account.ID, s.number, s.Name); err != nil {
		return err
	}
	now, err := load(ctx, c, kind, api.Ref{ID: s.number})
	*s = *now
	return err
}

func (s *Scope) object(kind api.Kind) audit.Object {
	return audit.Object{Kind: kind.Name, ID: s.ID, Name: s.Key}
}

// root is the account's own scope in the section.
func root(ctx context.Context, c *api.Call) (id int64, err error) {
	err = c.Tx.QueryRow(ctx, `SELECT root_scope_id FROM account_sections WHERE account_id = $1 AND section_id = $2`, c.Account.ID, c.Section.ID).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = api.Conflict("section_absent", "The account never had this section.")
	}
	return id, err
}

// parent is the scope that a body names in its field; the account's own where it names none.
func parent(ctx context.Context, c *api.Call, kind api.Kind, named string) (int64, error) {
	if named == "" {
		return root(ctx, c)
	}
	s, err := load(ctx, c, kind, kind.Ref(named))
	var p *api.Problem
	if errors.As(err, &p) && p.Code == api.CodeNotFound {
		return 0, api.Invalid("body."+kind.Name, "there is no such "+kind.Name)
	}
	if err == nil && s.State == "inactive" {
		err = api.Conflict(kind.Name+"_inactive", "The "+kind.Name+" "+s.Key+" is inactive: nothing can stand below it.")
	}
	return s.number, err
}
