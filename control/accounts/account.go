package accounts

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/jackc/pgx/v5"
)

// closedFor is how long a closed account can be opened again, before it is exported and erased.
const closedFor = 30 * 24 * time.Hour

// Account is an account as the API shows it.
type Account struct {
	ID                 string     `json:"id" example:"acc_1"`
	Key                string     `json:"key" example:"acme" doc:"what products name the account by; never changes"`
	Name               string     `json:"name" example:"Acme"`
	State              string     `json:"state" enum:"active,suspended,closed,erased"`
	TimeZone           string     `json:"time_zone" example:"Europe/Berlin" doc:"of its cycles, unless their plan has one"`
	Region             string     `json:"region" example:"eu" doc:"where its data is; never changes"`
	IssuerOrganization string     `json:"issuer_organization,omitempty" doc:"its organization at the issuer: whoever is admin there is admin here"`
	Limits             api.Limits `json:"limits"`
	InviteDomains      []string   `json:"invite_domains" nullable:"false" doc:"e-mails of which domains it invites; none: of all" example:"[\"acme.example\"]"`
	SuspendedReason    string     `json:"suspended_reason,omitempty"`
	ClosesAt           *time.Time `json:"closes_at,omitempty" doc:"of a closed account: when it is exported and erased"`
	CreatedAt          time.Time  `json:"created_at"`

	number, revision int64
	version          int64 // of the directory, while it is changed
}

const columns = `a.account_id, a.revision, a.key, a.name, a.state, a.time_zone, a.region, coalesce(a.issuer_organization, ''), a.limits, a.invite_domains,
	coalesce(a.suspended_reason, ''), a.closes_at, a.created_at`

func scan(row pgx.CollectableRow) (a Account, err error) {
	err = row.Scan(&a.number, &a.revision, &a.Key, &a.Name, &a.State, &a.TimeZone, &a.Region, &a.IssuerOrganization, &a.Limits, &a.InviteDomains, &a.SuspendedReason, &a.ClosesAt, &a.CreatedAt)
	a.ID = api.AccountKind.ID(a.number)
	return a, err
}

func (a *Account) object() audit.Object {
	return audit.Object{Kind: api.AccountKind.Name, ID: a.ID, Name: a.Key}
}

func (a *Account) answer() *api.Answer[Account] { return api.NewAnswer(a.revision, *a) }

// load reads an account.
func load(ctx context.Context, tx pgx.Tx, ref api.Ref) (*Account, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM accounts a WHERE a.account_id = $1 OR a.key = $2`, ref.ID, ref.Key)
	a, err := api.One(api.AccountKind, rows, err, scan)
	return &a, err
}

// loadForChange raises the directory's version and locks the account, in this order: as everybody does who changes accounts,
// or two could wait for each other. The lock lets rows be inserted that name the account, as an Idempotency-Key that waits for
// the version has done.
func loadForChange(ctx context.Context, tx pgx.Tx, ref api.Ref) (*Account, error) {
	version, err := directory.Raise(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM accounts a WHERE a.account_id = $1 OR a.key = $2 FOR NO KEY UPDATE`, ref.ID, ref.Key)
	a, err := api.One(api.AccountKind, rows, err, scan)
	if err == nil && a.State == "erased" {
		err = api.Conflict("account_erased", "The account is erased: nothing of it can be changed any more.")
	}
	a.version = version
	return &a, err
}

// save writes what can change of an account that was loaded for change, with a new revision and the directory's version, so
// that metering looks. It fills in what the database says.
func (a *Account) save(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `UPDATE accounts a SET name = $2, state = $3, time_zone = $4, issuer_organization = nullif($5, ''), limits = $6,
		suspended_reason = nullif($7, ''), closes_at = $8, version = $9, invite_domains = $10, revision = revision + 1 WHERE a.account_id = $1 RETURNING `+columns,
		a.number, a.Name, a.State, a.TimeZone, a.IssuerOrganization, a.Limits, a.SuspendedReason, a.ClosesAt, a.version, a.InviteDomains)
	if *a, err = api.One(api.AccountKind, rows, err, scan); err != nil {
		return conflict(err)
	}
	return nil
}

// inStep asks for the account's organization at the issuer to be as the account is. One that had none has it then.
func (a *Account) inStep(ctx context.Context, tx pgx.Tx) error {
	organization, err := provisioning.Organization(ctx, tx, a.number)
	if err != nil || organization == "" || organization == a.IssuerOrganization {
		return err
	}
	version := a.version
	now, err := load(ctx, tx, api.Ref{ID: a.number})
	if err == nil {
		*a = *now
		a.version = version
	}
	return err
}

// conflict names what is taken.
func conflict(err error) error {
	switch {
	case api.Violates(err, "accounts_key_key"):
		return api.Conflict("key_taken", "There is an account with this key.")
	case api.Violates(err, "accounts_issuer_organization_key"):
		return api.Conflict("issuer_organization_taken", "Another account has this organization of the issuer.")
	}
	return err
}

// zone checks a time zone: an IANA name.
func zone(name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return api.Invalid("body.time_zone", "there is no such IANA time zone")
	}
	return nil
}

// domains are e-mail domains as they are kept, each once, in order.
func domains(texts []string) ([]string, error) {
	kept := []string{}
	for i, text := range texts {
		d, err := api.Domain(text)
		if err != nil {
			return nil, api.Invalid(fmt.Sprintf("body.invite_domains[%d]", i), "this is no domain")
		}
		kept = append(kept, d)
	}
	slices.Sort(kept)
	return slices.Compact(kept), nil
}
