package provisioning

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ofUsers are the grants in account $1 of the persons of its users $2 that make them end users and nothing more: an admin whose
// user is shut out goes on administering.
const ofUsers = `account_id = $1 AND roles = '{` + EndUser + `}' AND user_id IN (SELECT i.id FROM users u JOIN issuer_users i ON i.person_id = u.person_id WHERE u.account_id = $1 AND u.id = ANY($2))`

// SetUsers says whether users of an account are active: whoever signs in as one of them may use the products, or may not. An
// account without a person among them, or without provisioning, has nothing to do.
func SetUsers(ctx context.Context, tx pgx.Tx, account int64, users []int64, active bool) error {
	return setUsers(ctx, tx, account, users, fmt.Sprintf(`active = %t, `, active))
}

// EndUsers takes back what makes the persons of users of an account its end users.
func EndUsers(ctx context.Context, tx pgx.Tx, account int64, users []int64) error {
	return setUsers(ctx, tx, account, users, `roles = '{}', `)
}

func setUsers(ctx context.Context, tx pgx.Tx, account int64, users []int64, set string) error {
	_, err := tx.Exec(ctx, `WITH g AS (UPDATE issuer_grants SET `+set+askedAgain+` WHERE `+ofUsers+` RETURNING user_id)
		UPDATE issuer_users SET `+askedAgain+` WHERE id IN (SELECT user_id FROM g)`, account, users)
	if err != nil {
		return fmt.Errorf("users at the issuer: %w", err)
	}
	return nil
}
