package users

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// held are the parts of the export: what of each row is in it, of user $2 of account $1, whom, with his memberships, the audit
// log knows as the objects $3.
// Amounts are credits, or USD where the section counts in them.
var held = []struct{ name, sql string }{
	{"identities", `SELECT source, value, valid_from AS "from", nullif(valid_to, 'infinity') AS "to", recorded_at FROM user_identities
		WHERE account_id = $1 AND user_id = $2 ORDER BY id`},
	{"aliases", `SELECT key, recorded_at FROM key_aliases WHERE account_id = $1 AND user_id = $2 ORDER BY id`},
	{"attributions", `SELECT key, reason, state, corrected, created_at, finished_at FROM attributions WHERE account_id = $1 AND user_id = $2 ORDER BY id`},
	{"memberships", `SELECT x.key AS section, o.kind AS of, o.key, o.name, p.valid_from AS "from", nullif(p.valid_to, 'infinity') AS "to"
		FROM scopes s JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id JOIN scopes o ON o.account_id = s.account_id AND o.id = p.parent_id
		JOIN sections x ON x.id = s.section_id WHERE s.account_id = $1 AND s.user_id = $2 ORDER BY p.valid_from, s.id`},
	{"primary_memberships", `SELECT x.key AS section, m.membership_id, m.valid_from AS "from", nullif(m.valid_to, 'infinity') AS "to"
		FROM primary_memberships m JOIN sections x ON x.id = m.section_id WHERE m.account_id = $1 AND m.user_id = $2 ORDER BY m.valid_from, x.id`},
	{"amounts", `SELECT x.key AS section, s.kind AS of, a.* FROM scopes s JOIN sections x ON x.id = s.section_id JOIN LATERAL (
			SELECT 'allocation' AS what, kind, ` + credits("amount") + ` AS amount, valid_from AS "from", NULL::timestamptz AS "to", recorded_at FROM allocations WHERE account_id = s.account_id AND scope_id = s.id
			UNION ALL SELECT 'cap', NULL, ` + credits("amount") + `, valid_from, NULL, recorded_at FROM caps WHERE account_id = s.account_id AND scope_id = s.id
			UNION ALL SELECT 'override', kind, ` + credits("amount") + `, valid_from, nullif(valid_until, 'infinity'), recorded_at FROM overrides WHERE account_id = s.account_id AND scope_id = s.id) a ON true
		WHERE s.account_id = $1 AND s.user_id = $2 ORDER BY a."from", s.id`},
	{"used", `SELECT x.key AS section, s.kind AS of, b.cycle_start, ` + credits("b.used[s.id % 64 + 1]") + ` AS used, b.events[s.id % 64 + 1] AS events
		FROM scopes s JOIN sections x ON x.id = s.section_id
		JOIN balance_pages b ON b.account_id = s.account_id AND b.section_id = s.section_id AND b.page = s.id / 64
		WHERE s.account_id = $1 AND s.user_id = $2 AND b.events[s.id % 64 + 1] <> 0 ORDER BY b.cycle_start, s.id`},
	{"invites", `SELECT x.key AS section, i.email, i.name, i.delivery, i.state, i.sent_at, i.expires_at, i.accepted_at FROM invites i JOIN sections x ON x.id = i.section_id
		WHERE i.account_id = $1 AND i.user_id = $2 ORDER BY i.id`},
	{"alerts", `SELECT a.type, a.state, a.data, a.created_at FROM alerts a JOIN scopes s ON s.account_id = a.account_id AND s.id = a.scope_id
		WHERE a.account_id = $1 AND s.user_id = $2 ORDER BY a.id`},
	{"audit_log", `SELECT at, action, actor->>'name' AS by, changes, reason FROM audit_entries WHERE account_id = $1 AND object_kind IN ('user', 'membership') AND object_id = ANY($3) ORDER BY at, id`},
}

// credits is a number of micro-credits as a decimal.
func credits(micro string) string { return `trim_scale(` + micro + ` / 1000000.0)::text` }

type exportInput struct {
	UserPath
}

// export writes a JSON object: the user, and a list for each part.
func export(ctx context.Context, c *api.Call, in *exportInput) (*api.File, error) {
	u, err := load(ctx, c, api.UserKind.Ref(in.User))
	if err != nil {
		return nil, err
	}
	if err := u.record(ctx, c, "user.exported", "", u); err != nil {
		return nil, err
	}
	return &api.File{Name: u.ID + ".json", Type: "application/json", Write: func(ctx context.Context, w io.Writer) error {
		return c.Within(ctx, func(tx pgx.Tx) error { return u.write(ctx, tx, c.Account.ID, w) })
	}}, nil
}

func (u *User) write(ctx context.Context, tx pgx.Tx, account int64, w io.Writer) error {
	rows, err := tx.Query(ctx, `SELECT id FROM scopes WHERE account_id = $1 AND user_id = $2 AND kind = 'membership'`, account, u.number)
	if err != nil {
		return err
	}
	objects, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var id int64
		err := row.Scan(&id)
		return api.MembershipKind.ID(id), err
	})
	if err != nil {
		return err
	}
	objects = append(objects, u.ID)
	whole := map[string]any{"user": u}
	for _, part := range held {
		rows, err := tx.Query(ctx, `SELECT to_jsonb(r) FROM (`+part.sql+`) r WHERE $2::bigint > 0 AND cardinality($3::text[]) > 0`, account, u.number, objects)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
		if err != nil {
			return fmt.Errorf("export %s: %w", part.name, err)
		}
		whole[part.name] = list
	}
	text, err := json.MarshalIndent(whole, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
