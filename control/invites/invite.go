package invites

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Invite is an invite as the API shows it.
type Invite struct {
	ID         string     `json:"id" example:"inv_1"`
	Role       string     `json:"role" enum:"account_admin,account_viewer,section_admin,end_user"`
	Section    *KeyedRef  `json:"section,omitempty" doc:"of a section_admin or an end_user"`
	User       *KeyedRef  `json:"user,omitempty" doc:"of an end_user: who whoever accepts is from then on"`
	Email      string     `json:"email" example:"grace@acme.example" doc:"of whom it is for"`
	Name       string     `json:"name,omitempty" example:"Grace Hopper"`
	Delivery   string     `json:"delivery" enum:"link,mail" doc:"link: the cockpit shows a link once, to be passed on. mail: the issuer sends its own"`
	State      string     `json:"state" enum:"pending,accepted,revoked,expired"`
	Sends      int        `json:"sends" example:"1" doc:"how often it was sent"`
	SentAt     time.Time  `json:"sent_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	CreatedAt  time.Time  `json:"created_at"`
	InvitedBy  *PersonRef `json:"invited_by,omitempty"`
	AcceptedAt *time.Time `json:"accepted_at,omitempty"`
	AcceptedBy *PersonRef `json:"accepted_by,omitempty"`

	number, account int64
	section, user   int64
	provisioned     int64  // as whom the issuer is to know him; 0: by link, and not accepted yet
	state           string // as it is kept: an expired one is pending
}

// KeyedRef is a section or a user as an invite names it.
type KeyedRef struct {
	ID  string `json:"id" example:"sec_1"`
	Key string `json:"key" example:"copilot"`
}

// PersonRef is who invited or accepted.
type PersonRef struct {
	ID   string `json:"id" example:"per_1"`
	Name string `json:"name" example:"Grace Hopper"`
}

const (
	// stateOf needs what now is, as its only argument.
	stateOf = `CASE WHEN i.state = 'pending' AND i.expires_at <= ? THEN 'expired' ELSE i.state END`
	columns = `i.account_id, i.id, i.role, i.section_id, s.key, i.user_id, u.key, i.email, i.name, i.delivery, i.state, i.sends, i.sent_at, i.expires_at, i.created_at,
	i.created_by, coalesce(nullif(b.name, ''), b.email), i.accepted_at, i.accepted_by, coalesce(nullif(p.name, ''), p.email), coalesce(i.provisioned, 0)`
	tables = `invites i LEFT JOIN sections s ON s.id = i.section_id LEFT JOIN users u ON u.account_id = i.account_id AND u.id = i.user_id
	LEFT JOIN people b ON b.id = i.created_by LEFT JOIN people p ON p.id = i.accepted_by`
)

// scan reads an invite as it is now.
func scan(now time.Time) pgx.RowToFunc[Invite] {
	return func(row pgx.CollectableRow) (i Invite, err error) {
		var section, user, by, accepted *int64
		var sectionKey, userKey, byName, acceptedName *string
		err = row.Scan(&i.account, &i.number, &i.Role, &section, &sectionKey, &user, &userKey, &i.Email, &i.Name, &i.Delivery, &i.state, &i.Sends, &i.SentAt, &i.ExpiresAt,
			&i.CreatedAt, &by, &byName, &i.AcceptedAt, &accepted, &acceptedName, &i.provisioned)
		i.ID, i.State = api.InviteKind.ID(i.number), i.state
		if i.state == pending && !now.Before(i.ExpiresAt) {
			i.State = "expired"
		}
		if section != nil {
			i.section, i.Section = *section, &KeyedRef{api.SectionKind.ID(*section), *sectionKey}
		}
		if user != nil {
			i.user, i.User = *user, &KeyedRef{api.UserKind.ID(*user), *userKey}
		}
		i.InvitedBy, i.AcceptedBy = person(by, byName), person(accepted, acceptedName)
		return i, err
	}
}

func person(id *int64, name *string) *PersonRef {
	if id == nil {
		return nil
	}
	return &PersonRef{api.PersonKind.ID(*id), *name}
}

const pending = "pending"

func (i *Invite) object() audit.Object { return audit.Object{Kind: api.InviteKind.Name, ID: i.ID} }

// recorded is what the audit log has of an invite. Of an end user it has no e-mail.
type recorded struct {
	State     string    `json:"state"`
	Role      string    `json:"role"`
	Section   *KeyedRef `json:"section,omitempty"`
	User      string    `json:"user,omitempty"`
	Email     string    `json:"email,omitempty"`
	Delivery  string    `json:"delivery"`
	Sends     int       `json:"sends"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (i *Invite) recorded() *recorded {
	if i == nil {
		return nil
	}
	r := &recorded{State: i.State, Role: i.Role, Section: i.Section, Email: i.Email, Delivery: i.Delivery, Sends: i.Sends, ExpiresAt: i.ExpiresAt}
	if i.User != nil {
		r.User, r.Email = i.User.ID, ""
	}
	return r
}

// record puts a change of an invite on record. before nil: it was not there.
func (i *Invite) record(ctx context.Context, c *api.Call, action string, before *Invite) error {
	change := api.Change{Account: i.account, Action: action, Object: i.object(), After: i.recorded()}
	if before != nil {
		change.Before = before.recorded()
	}
	return c.Record(ctx, change)
}

// load reads an invite of an account, and of a section where that is not 0; lock says that it will be changed.
func load(ctx context.Context, c *api.Call, account, section, id int64, lock bool) (*Invite, error) {
	sql := `SELECT ` + columns + ` FROM ` + tables + ` WHERE i.account_id = $1 AND i.id = $2 AND ($3 = 0 OR i.section_id = $3 AND i.role = 'end_user')`
	if lock {
		sql += ` FOR UPDATE OF i`
	}
	rows, err := c.Tx.Query(ctx, sql, account, id, section)
	i, err := api.One(api.InviteKind, rows, err, scan(c.Now))
	return &i, err
}
