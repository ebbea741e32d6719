package users

import (
	"context"
	"fmt"
	"net/mail"
	"slices"
	"unicode/utf8"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// The columns of a file of users, by their places.
const (
	cellKey = iota
	cellName
	cellEmail
	cellState
	cellIdentities
)

var fileColumns = []imports.Column{cellKey: {Name: "key", Required: true}, cellName: {Name: "name"}, cellEmail: {Name: "email"}, cellState: {Name: "state"},
	cellIdentities: {Name: "identities"}}

var files = imports.Kind[plan]{Name: "users", Columns: fileColumns, Fills: []string{"users", "user_identities", "scopes"}, Claims: claims, Judge: func() imports.Judge[plan] { return new(judge).lines }, Apply: apply}

// claims are the key, and what the user shall be called.
func claims(l *imports.Line) (list []string) {
	list = append(list, imports.Claim("key", l.Cell(cellKey)))
	identities, _ := readIdentities(l.Cell(cellIdentities)) // a judge says what is wrong with them
	for _, i := range identities {
		list = append(list, imports.Claim("identities", identitiesCell([]called{i})))
	}
	return list
}

// plan is what a line of a file makes of a user.
type plan struct {
	was   *User // nil: he is new
	is    User
	begin []called
	end   []int64 // identities
}

// judge knows how many users are active, with those of the lines before.
type judge struct {
	counted bool
	active  int
}

// there is what the directory has of the users of some lines.
type there struct {
	users      map[string]*User
	identities map[int64]map[called]int64 // by user; the identity's id
	owners     map[called]int64           // of identities that lines name
	used       map[string]bool            // keys that somebody had before
}

func (j *judge) lines(ctx context.Context, c *api.Call, lines []*imports.Line) ([]plan, error) {
	if !j.counted && c.Account.Limits.Users != nil {
		if err := c.Tx.QueryRow(ctx, `SELECT count(*) FROM users WHERE account_id = $1 AND state = 'active'`, c.Account.ID).Scan(&j.active); err != nil {
			return nil, err
		}
		j.counted = true
	}
	t, err := findUsers(ctx, c, lines)
	if err != nil {
		return nil, err
	}
	plans := make([]plan, len(lines))
	for i, l := range lines {
		if l.Bad() {
			continue
		}
		plans[i] = j.user(l, t)
		if j.identities(l, t, &plans[i]); !l.Bad() {
			j.limit(l, c.Account.Limits.Users, &plans[i])
		}
	}
	return plans, nil
}

func findUsers(ctx context.Context, c *api.Call, lines []*imports.Line) (*there, error) {
	t := &there{users: map[string]*User{}, identities: map[int64]map[called]int64{}, owners: map[called]int64{}, used: map[string]bool{}}
	var keys, sources, values []string
	for _, l := range lines {
		if l.Bad() {
			continue
		}
		keys = append(keys, l.Cell(cellKey))
		named, _ := readIdentities(l.Cell(cellIdentities)) // said below
		for _, i := range named {
			sources, values = append(sources, i.source), append(values, i.value)
		}
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM users u WHERE u.account_id = $1 AND u.key = ANY($2)`, c.Account.ID, keys)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(found))
	for i := range found {
		t.users[found[i].Key], ids[i] = &found[i], found[i].number
	}
	if err := t.findUsed(ctx, c, keys); err != nil {
		return nil, err
	}
	var id, user int64
	var name called
	// Before Postgres has statistics of a table that grows, it would take the index of the current ones for the first part, and read
	// all of the account's: >= keeps it from that, and nothing is later than infinity.
	rows, err = c.Tx.Query(ctx, `SELECT i.* FROM unnest($2::bigint[]) AS n(id), LATERAL (SELECT id, user_id, source, value FROM user_identities i
			WHERE i.account_id = $1 AND i.user_id = n.id AND i.valid_to >= 'infinity' OFFSET 0) i
		UNION SELECT i.id, i.user_id, i.source, i.value FROM unnest($3::text[], $4::text[]) AS n(source, value), LATERAL (SELECT * FROM user_identities i
			WHERE i.account_id = $1 AND i.valid_to = 'infinity' AND i.source = n.source AND i.value = n.value LIMIT 1) i`, c.Account.ID, ids, sources, values)
	if err != nil {
		return nil, err
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &user, &name.source, &name.value}, func() error {
		if t.identities[user] == nil {
			t.identities[user] = map[called]int64{}
		}
		t.identities[user][name], t.owners[name] = id, user
		return nil
	})
	return t, err
}

// findUsed finds those of the keys that are aliases, or were an erased user's.
func (t *there) findUsed(ctx context.Context, c *api.Call, keys []string) error {
	rows, err := c.Tx.Query(ctx, `SELECT n.key FROM unnest($2::text[]) AS n(key) WHERE EXISTS (SELECT FROM key_aliases a
			WHERE a.account_id = $1 AND a.kind = 'user' AND a.section_id IS NULL AND a.key = n.key)
		OR EXISTS (SELECT FROM erased_keys e WHERE e.account_id = $1) AND EXISTS (SELECT FROM erased_keys e WHERE e.account_id = $1 AND e.hash = erased_key_hash($1, n.key))`,
		c.Account.ID, keys)
	if err != nil {
		return err
	}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error { t.used[key] = true; return nil })
	return err
}

// user judges what a line says of the user himself. What is so already is never bad.
func (j *judge) user(l *imports.Line, t *there) (p plan) {
	p.was = t.users[l.Cell(cellKey)]
	switch {
	case p.was != nil && p.was.State == "erased":
		l.Fail("key", "user_erased", "the user is erased: nothing of him can be changed any more")
		return p
	case p.was != nil:
		p.is = *p.was
	case t.used[l.Cell(cellKey)]:
		l.Fail("key", "key_taken", "a user had this key before; name him by the one that he has")
	case !api.WellFormedKey(l.Cell(cellKey)):
		l.Fail("key", api.CodeInvalid, api.KeyRule)
	case text(l.Cell(cellName)) == "":
		l.Fail("name", "required", "a new user needs a name")
	default:
		p.is, l.Action = User{Key: l.Cell(cellKey), State: "active"}, imports.Create
	}
	if said := l.Cell(cellName); text(said) != "" && said != p.is.Name && text(said) != p.is.Name {
		if utf8.RuneCountInString(text(said)) > nameMax {
			l.Fail("name", api.CodeInvalid, fmt.Sprintf("a name has at most %d characters", nameMax))
		}
		p.is.Name = text(said)
		l.Change("name")
	}
	if said := l.Cells[cellEmail]; said != nil && *said != p.is.Email && text(*said) != p.is.Email {
		if p.is.Email = text(*said); !wellFormedEmail(p.is.Email) {
			l.Fail("email", api.CodeInvalid, fmt.Sprintf("this is no e-mail address of at most %d characters", emailMax))
		}
		l.Change("email")
	}
	switch said := l.Cell(cellState); said {
	case "", p.is.State:
	case "active", "inactive":
		p.is.State = said
		l.Change("state")
	default:
		l.Fail("state", api.CodeInvalid, "a state is active or inactive")
	}
	return p
}

// wellFormedEmail says whether a user may get it. Empty is none.
func wellFormedEmail(email string) bool {
	_, err := mail.ParseAddress(email)
	return email == "" || err == nil && utf8.RuneCountInString(email) <= emailMax
}

// identities judges the list of what a user is called: it is all of it.
func (j *judge) identities(l *imports.Line, t *there, p *plan) {
	if l.Bad() || l.Cells[cellIdentities] == nil {
		return
	}
	named, err := readIdentities(l.Cell(cellIdentities))
	if err != nil {
		l.Fail("identities", api.CodeInvalid, err.Error())
		return
	}
	for _, i := range named {
		owner, taken := t.owners[i]
		source, value := utf8.RuneCountInString(i.source), utf8.RuneCountInString(i.value)
		switch {
		case taken && (p.was == nil || owner != p.was.number):
			l.Fail("identities", "identity_taken", "another user has one of these identities; end it there first")
		case taken: // by himself
		case source < 1 || source > identityMax || value < 1 || value > identityMax:
			l.Fail("identities", api.CodeInvalid, fmt.Sprintf("a source and a value have 1 to %d characters", identityMax))
		default:
			p.begin = append(p.begin, i)
		}
	}
	if p.was != nil {
		for i, id := range t.identities[p.was.number] {
			if !slices.Contains(named, i) {
				p.end = append(p.end, id)
			}
		}
		slices.Sort(p.end)
	}
	if !l.Bad() && len(p.begin)+len(p.end) > 0 {
		l.Change("identities")
	}
}

// limit refuses one active user too many. Those whom the file deactivates make room for the next file.
func (j *judge) limit(l *imports.Line, users *int, p *plan) {
	if users == nil || p.is.State != "active" || p.was != nil && p.was.State == "active" {
		return
	}
	if j.active >= *users {
		l.Fail("", "limit_reached", fmt.Sprintf("the account may have %d active users, and has them", *users))
		return
	}
	j.active++
}
