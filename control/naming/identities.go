package naming

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/api"
)

// AddIdentity lets a source call the user so, from now on; one that he has already is answered as it is. The directory is
// being changed by whoever calls (api.Call.ChangeDirectory). identity_taken: another user has it.
func AddIdentity(ctx context.Context, c *api.Call, user int64, source, value string) (id int64, from time.Time, err error) {
	var owner int64
	// What ended in this very microsecond begins again behind it.
	err = c.Tx.QueryRow(ctx, `WITH made AS (INSERT INTO user_identities (account_id, user_id, source, value, valid_from)
			SELECT $1, $2, $3, $4, greatest($5, (SELECT max(valid_from) + interval '1 microsecond' FROM user_identities WHERE account_id = $1 AND source = $3 AND value = $4))
			ON CONFLICT (account_id, source, value) WHERE valid_to = 'infinity' DO NOTHING RETURNING *)
		SELECT user_id, id, valid_from FROM made UNION ALL
		SELECT user_id, id, valid_from FROM user_identities WHERE account_id = $1 AND source = $3 AND value = $4 AND valid_to = 'infinity'`,
		c.Account.ID, user, source, value, c.Now).Scan(&owner, &id, &from)
	if err == nil && owner != user {
		err = api.Conflict("identity_taken", "Another user has this identity; end it there first.")
	}
	return id, from, err
}
