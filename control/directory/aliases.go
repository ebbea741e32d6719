package directory

import (
	"errors"
	"fmt"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
)

// called is a user, an organization or a team as a file calls it.
type called struct {
	account, section int64 // section 0: a user
	kind, key        string
	aliases          []string
	place            string // in the file
}

// renamed is for what has not the key that the file gives it: one that has one of its aliases as its key gets that key, as
// it did where the file came from. A file from before a rename, which names something by what is an alias by now, is
// refused: it would be made anew beside it otherwise.
func (a *applier) renamed(c called) {
	const named = ` FROM (SELECT id, key, 0 AS section_id, 'user' AS kind FROM users WHERE account_id = $1 UNION ALL SELECT id, key, section_id, kind FROM scopes WHERE account_id = $1) o
		WHERE o.kind = $2 AND o.section_id = $3`
	var id int64
	var now string
	if a.get(`SELECT o.id, o.key FROM key_aliases k JOIN (SELECT o.*`+named+`) o ON o.id = coalesce(k.user_id, k.scope_id)
		WHERE k.account_id = $1 AND k.kind = $2 AND coalesce(k.section_id, 0) = $3 AND k.key = $4 AND o.key <> ALL(coalesce($5::text[], '{}'))`,
		[]any{c.account, c.kind, c.section, c.key, c.aliases}, &id, &now) {
		a.fail("%s: is called %s by now: name it so, with an alias", c.place, now)
		return
	}
	if len(c.aliases) == 0 {
		return
	}
	var n int
	a.get(`SELECT count(*), coalesce(min(o.id), 0), coalesce(min(o.key), '')`+named+` AND o.key = ANY($4)`, []any{c.account, c.kind, c.section, c.aliases}, &n, &id, &now)
	switch {
	case a.err != nil || n == 0:
	case n > 1:
		a.fail("%s: its aliases are keys of several", c.place)
	default:
		a.err = a.taken(c.place, naming.Keyed{Account: c.account, Kind: c.kind, ID: id}.Rename(a.ctx, a.tx, c.key, a.now))
		a.changed(c.account, "%s: renamed from %s", c.place, now)
	}
}

// also lets it be named by its aliases. None is ever taken away.
func (a *applier) also(id int64, c called) {
	for _, alias := range c.aliases {
		if a.err != nil {
			return
		}
		added, err := naming.Keyed{Account: c.account, Kind: c.kind, ID: id}.AddAlias(a.ctx, a.tx, alias, a.now)
		a.err = a.taken(c.place+": alias "+alias, err)
		if added {
			a.changed(c.account, "%s: alias %s", c.place, alias)
		}
	}
}

// taken names the place of a key that is another's.
func (a *applier) taken(place string, err error) error {
	var p *api.Problem
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %s", place, p.Detail)
	}
	return err
}

// aliases reads those of an account: by scope, and by user below zero.
func (e *exporter) aliases(account int64) map[int64][]string {
	type row struct {
		ID  int64
		Key string
	}
	of := map[int64][]string{}
	for _, r := range collect[row](e, `SELECT coalesce(scope_id, -user_id), key FROM key_aliases WHERE account_id = $1 ORDER BY id`, account) {
		of[r.ID] = append(of[r.ID], r.Key)
	}
	return of
}
