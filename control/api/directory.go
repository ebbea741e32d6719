package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/alchemi/cockpit/metering/directory"
	"github.com/jackc/pgx/v5"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// ChangeDirectory is what a handler begins with that changes what metering resolves events of the account with. It raises
// the directory's version and then locks the account, in this order as everybody does, and gives the account that version, so
// that metering looks. From here to the commit, changes of the directory are one after the other: what is read now holds, and
// c.Now and the account's limits are as of now. The lock lets rows be inserted that name the account, as an Idempotency-Key
// that waits for this one has done. Again in the same transaction, it does nothing.
func (c *Call) ChangeDirectory(ctx context.Context) error {
	if c.changing {
		return nil
	}
	version, err := directory.Raise(ctx, c.Tx)
	if err != nil {
		return err
	}
	c.Account.Limits = Limits{}
	err = c.Tx.QueryRow(ctx, `UPDATE accounts SET version = $2 WHERE account_id = $1 RETURNING state, limits`, c.Account.ID, version).
		Scan(&c.Account.State, &c.Account.Limits)
	if err != nil {
		return fmt.Errorf("lock the account: %w", err)
	}
	c.Now, c.changing = c.api.cfg.Now(), true
	return c.standing()
}

// HoldLimit refuses what would be more than the account may have. count counts what is there with it; $1 is the account.
func (c *Call) HoldLimit(ctx context.Context, limit *int, what, count string) error {
	room, err := c.Room(ctx, limit, count)
	if err == nil && room < 0 {
		err = LimitReached(limit, what)
	}
	return err
}

// Room is how many more the account may have; less than none where it has too many. count is as of HoldLimit.
func (c *Call) Room(ctx context.Context, limit *int, count string) (int, error) {
	if limit == nil {
		return math.MaxInt, nil
	}
	var n int
	err := c.Tx.QueryRow(ctx, count, c.Account.ID).Scan(&n)
	return *limit - n, err
}

// LimitReached is the answer for what would be one more than the account may have.
func LimitReached(limit *int, what string) *Problem {
	return Conflict("limit_reached", fmt.Sprintf("The account may have %d %s, and has them.", *limit, what))
}

// FindSection is the account's section that a field names; 0 where it names none.
func (c *Call) FindSection(ctx context.Context, field, named string) (id int64, err error) {
	if named == "" {
		return 0, nil
	}
	ref := SectionKind.Ref(named)
	err = c.Tx.QueryRow(ctx, `SELECT s.id FROM sections s JOIN account_sections x ON x.section_id = s.id AND x.account_id = $1 WHERE s.id = $2 OR s.key = $3`,
		c.Account.ID, ref.ID, ref.Key).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = Invalid(field, "the account has no such section")
	}
	return id, err
}

const (
	keyMax       = 256 // bytes
	erasedPrefix = "erased-"
)

// KeyRule says what WellFormedKey holds, for people.
const KeyRule = "a key is 1 to 256 bytes in Unicode form NFC"

// WellFormedKey says whether a new object may have the key.
func WellFormedKey(key string) bool {
	return key != "" && len(key) <= keyMax && norm.NFC.IsNormalString(key) && !strings.ContainsRune(key, 0)
}

// Key is the key of an object that is made: what was given, or one that nobody has.
func Key(given *string) (string, error) {
	if given == nil {
		return strings.ToLower(rand.Text()), nil
	}
	return GivenKey(*given)
}

// GivenKey checks a key that was given.
func GivenKey(key string) (string, error) {
	if !WellFormedKey(key) {
		return "", Invalid("body.key", KeyRule)
	}
	if strings.HasPrefix(key, erasedPrefix) {
		return "", Invalid("body.key", "a key that begins with "+erasedPrefix+" is that of something erased")
	}
	return key, nil
}

// Like is the pattern of LIKE for texts with q in them, in small letters. Compare it with what lower makes of the text.
func Like(q string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(norm.NFC.String(q))) + "%"
}

// Domain is an e-mail's domain as it is kept and compared: in small letters and ASCII (RFC 5891).
func Domain(text string) (string, error) {
	domain, err := idna.Lookup.ToASCII(strings.TrimSpace(text))
	if err == nil && !strings.Contains(domain, ".") {
		err = fmt.Errorf("%q is no domain", text)
	}
	return domain, err
}
