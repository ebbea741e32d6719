package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// PriceLead is how far ahead a change of a price, term or factor must begin, so that every worker's snapshot has it.
const PriceLead = 5 * time.Second

// Why a price or factor can't be as asked.
var (
	ErrCharged = fmt.Errorf("must begin at least %s ahead, since usage of that time has been charged already", PriceLead)
	ErrEdited  = errors.New("is never edited; begin a new one")
)

// Raise gives the directory a new version, under its lock: from here to the commit, changes of the directory are one after
// the other. What an account's change concerns has that version in accounts.version.
func Raise(ctx context.Context, tx pgx.Tx) (version int64, err error) {
	if _, err = tx.Exec(ctx, `UPDATE deployment SET directory_version = directory_version + 1`); err != nil {
		return 0, fmt.Errorf("raise the directory's version: %w", err)
	}
	err = tx.QueryRow(ctx, `SELECT directory_version FROM deployment`).Scan(&version)
	return version, err
}

// MayBegin is ErrCharged for a price or factor that begins before now has reached every worker, and after something of that
// time may have been charged.
func MayBegin(ctx context.Context, tx pgx.Tx, from, now time.Time) error {
	if from.After(now.Add(PriceLead)) {
		return nil
	}
	var charged bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM journal WHERE charged > 0 AND max_time >= $1)`, from).Scan(&charged)
	if err == nil && charged {
		err = ErrCharged
	}
	return err
}

// Factor is CREDITS_FACTOR of an account's section from a time on.
type Factor struct {
	Account, Section int64
	Value            string // as price.ParseFactor reads it
	From             time.Time
}

// Add adds the factor, and says whether it was not there. The directory is raised by whoever calls. correct says that what
// was charged since will be corrected.
func (f Factor) Add(ctx context.Context, tx pgx.Tx, now time.Time, correct bool) (added bool, err error) {
	var same bool
	err = tx.QueryRow(ctx, `SELECT value = $4::numeric FROM credits_factors WHERE account_id = $1 AND section_id = $2 AND valid_from = $3`,
		f.Account, f.Section, f.From, f.Value).Scan(&same)
	switch {
	case err == nil && !same:
		return false, ErrEdited
	case err == nil:
		return false, nil
	case !errors.Is(err, pgx.ErrNoRows):
		return false, err
	}
	if !correct {
		if err := MayBegin(ctx, tx, f.From, now); err != nil {
			return false, err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO credits_factors (account_id, section_id, value, valid_from) VALUES ($1, $2, $3::numeric, $4)`, f.Account, f.Section, f.Value, f.From)
	return err == nil, err
}
