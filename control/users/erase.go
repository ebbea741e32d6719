package users

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/provisioning"
)

func registerErasing(a *api.API) {
	api.Write(a, api.Operation{Method: http.MethodPost, Path: onePath + "/erase", ID: "eraseUser", Summary: "Erase who a user is", Tag: tag, Permission: access.UsersWrite,
		Description: "For good: his name, e-mail and identities go, his key becomes a neutral one, and his memberships end. What was charged stays, under his id.",
		Examples:    []api.Example{{As: asAdmin, Path: made + "/erase", Make: "createUser", Body: `{"reason":"he asked for it"}`}}}, erase)
	api.Download(a, api.Operation{Path: onePath + "/export", ID: "exportUser", Summary: "All that is held about a user", Tag: tag, Permission: access.UsersRead,
		Description: "He, what others call him, his memberships and amounts, what was charged by cycle, alerts, and what is on record of him; ever, and not only now.",
		Examples:    []api.Example{{As: asAdmin, Path: made + "/export", Make: "createUser"}, {As: asAdmin, Path: ofAcme + "/key:u-42/export"}}}, []string{"application/json"}, export)
}

type eraseInput struct {
	UserPath
	api.Idempotent
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"for the audit log, which keeps it: without his name"`
	}
}

// erasing takes away who a user, $2 of account $1, is, as of $3. His places and amounts stay as they were until now.
var erasing = []string{
	`DELETE FROM user_identities WHERE account_id = $1 AND user_id = $2 AND $3::timestamptz IS NOT NULL`,
	`INSERT INTO erased_keys (account_id, hash) SELECT $1, erased_key_hash($1, k.key) FROM (SELECT key FROM users WHERE account_id = $1 AND id = $2
		UNION SELECT key FROM key_aliases WHERE account_id = $1 AND user_id = $2) k WHERE $3::timestamptz IS NOT NULL ON CONFLICT DO NOTHING`,
	`DELETE FROM key_aliases WHERE account_id = $1 AND user_id = $2 AND $3::timestamptz IS NOT NULL`,
	`UPDATE attributions SET key = '', reason = '', below = NULL, state = CASE WHEN state IN ('waiting', 'running') THEN 'failed' ELSE state END,
		finished_at = coalesce(finished_at, $3) WHERE account_id = $1 AND user_id = $2`,
	`UPDATE invites SET email = '', name = '', state = CASE state WHEN 'pending' THEN 'revoked' ELSE state END WHERE account_id = $1 AND user_id = $2 AND $3::timestamptz IS NOT NULL`,
	`UPDATE alerts SET data = data #- '{scope,key}' #- '{scope,name}' WHERE account_id = $1 AND $3::timestamptz IS NOT NULL
		AND scope_id IN (SELECT id FROM scopes WHERE account_id = $1 AND user_id = $2)`,
	`UPDATE scope_parents SET valid_to = greatest($3, valid_from + interval '1 microsecond') WHERE account_id = $1 AND valid_to = 'infinity'
		AND scope_id IN (SELECT id FROM scopes WHERE account_id = $1 AND user_id = $2 AND kind = 'membership')`,
	`UPDATE primary_memberships SET valid_to = greatest($3, valid_from + interval '1 microsecond') WHERE account_id = $1 AND user_id = $2 AND valid_to = 'infinity'`,
	`UPDATE users SET key = 'erased-' || id, name = '', email = NULL, state = 'inactive', key_since = NULL, person_id = NULL, erased_at = $3, revision = revision + 1 WHERE account_id = $1 AND id = $2`,
}

func erase(ctx context.Context, c *api.Call, in *eraseInput) (*api.Answer[User], error) {
	before, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	if err := provisioning.EndUsers(ctx, c.Tx, c.Account.ID, []int64{before.number}); err != nil {
		return nil, err
	}
	for _, sql := range erasing {
		if _, err := c.Tx.Exec(ctx, sql, c.Account.ID, before.number, c.Now); err != nil {
			return nil, err
		}
	}
	u, err := load(ctx, c, api.Ref{ID: before.number})
	if err != nil {
		return nil, err
	}
	return u.answer(), u.record(ctx, c, "user.erased", in.Body.Reason, before)
}
