package clients

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Client is a registered program.
type Client struct {
	ID          string    `json:"id" example:"cli_1"`
	Key         string    `json:"key" example:"alchemi-web" doc:"what the audit log names it by; never changes"`
	Name        string    `json:"name" example:"Alchemi"`
	Issuer      string    `json:"issuer" example:"https://id.example.com"`
	ClientID    string    `json:"client_id" example:"281745@alchemi" doc:"the issuer's name for it"`
	Permissions []string  `json:"permissions" nullable:"false" example:"[\"account.read\"]" doc:"what people may do through it, who may themselves"`
	Sections    []string  `json:"sections" nullable:"false" doc:"keys of the sections that it reaches; none: all"`
	Origins     []string  `json:"origins" nullable:"false" doc:"of its pages, which may call from browsers"`
	State       string    `json:"state" enum:"active,inactive"`
	CreatedAt   time.Time `json:"created_at"`

	number, revision int64
}

const columns = `c.id, c.revision, c.key, c.name, c.issuer, c.client_id, c.permissions, c.origins, c.state, c.created_at,
	ARRAY(SELECT s.key FROM sections s WHERE s.id = ANY(c.sections) ORDER BY 1)`

func scan(row pgx.CollectableRow) (c Client, err error) {
	err = row.Scan(&c.number, &c.revision, &c.Key, &c.Name, &c.Issuer, &c.ClientID, &c.Permissions, &c.Origins, &c.State, &c.CreatedAt, &c.Sections)
	c.ID = api.ClientKind.ID(c.number)
	return c, err
}

func (c *Client) object() audit.Object {
	return audit.Object{Kind: api.ClientKind.Name, ID: c.ID, Name: c.Key}
}

func (c *Client) answer() *api.Answer[Client] { return api.NewAnswer(c.revision, *c) }

func load(ctx context.Context, tx pgx.Tx, text string, lock bool) (*Client, error) {
	sql, ref := `SELECT `+columns+` FROM clients c WHERE c.id = $1 OR c.key = $2`, api.ClientKind.Ref(text)
	if lock {
		sql += ` FOR UPDATE`
	}
	rows, err := tx.Query(ctx, sql, ref.ID, ref.Key)
	c, err := api.One(api.ClientKind, rows, err, scan)
	return &c, err
}

// save writes what can change, with a new revision.
func (c *Client) save(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `UPDATE clients c SET name = $2, issuer = $3, client_id = $4, permissions = $5, origins = $6, state = $7,
		sections = ARRAY(SELECT s.id FROM sections s WHERE s.key = ANY($8) ORDER BY 1), revision = revision + 1 WHERE c.id = $1 RETURNING `+columns,
		c.number, c.Name, c.Issuer, c.ClientID, c.Permissions, c.Origins, c.State, c.Sections)
	if *c, err = api.One(api.ClientKind, rows, err, scan); err != nil {
		return conflict(err)
	}
	return nil
}

// conflict names what is taken.
func conflict(err error) error {
	switch {
	case api.Violates(err, "clients_key_key"):
		return api.Conflict("key_taken", "There is a client with this key.")
	case api.Violates(err, "clients_issuer_client_id_key"):
		return api.Conflict("client_id_taken", "There is a client with this issuer and client id.")
	}
	return err
}

// forPlatform are permissions of an account by which somebody takes the platform's rights.
var forPlatform = []access.Permission{access.AccountsElevate}

// check refuses what a client can't be, and brings lists into order. Sections are named by id or key, and become keys.
func (c *Client) check(ctx context.Context, tx pgx.Tx) error {
	for i, p := range c.Permissions {
		field := fmt.Sprintf("body.permissions[%d]", i)
		level, known := access.Permission(p).Known()
		if !known {
			return api.Invalid(field, "there is no such permission")
		}
		if level == access.Platform || slices.Contains(forPlatform, access.Permission(p)) {
			return api.Invalid(field, "is the platform's: no client has it")
		}
	}
	for i, o := range c.Origins {
		if err := origin(o); err != nil {
			return api.Invalid(fmt.Sprintf("body.origins[%d]", i), err.Error())
		}
	}
	for i, s := range c.Sections {
		ref := api.SectionKind.Ref(s)
		rows, err := tx.Query(ctx, `SELECT key FROM sections WHERE id = $1 OR key = $2`, ref.ID, ref.Key)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return api.Invalid(fmt.Sprintf("body.sections[%d]", i), "there is no such section")
		}
		c.Sections[i] = found[0]
	}
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !local(u.Hostname())) {
		return api.Invalid("body.issuer", "an https URL")
	}
	c.Permissions, c.Origins, c.Sections = ordered(c.Permissions), ordered(c.Origins), ordered(c.Sections)
	return nil
}

// ordered is a list as it is kept: sorted, each once, and never nil.
func ordered(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}

// origin says what is wrong with one: it must be exactly what a browser sends.
func origin(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || text != u.Scheme+"://"+u.Host {
		return fmt.Errorf("an origin is scheme://host or scheme://host:port, and no more")
	}
	if u.Host != strings.ToLower(u.Host) || strings.Contains(u.Host, "*") || strings.HasSuffix(u.Host, ":") || u.Hostname() == "" {
		return fmt.Errorf("a host as browsers send it: small letters, and no wildcard")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local(u.Hostname())) {
		return fmt.Errorf("https, except of this very machine")
	}
	if u.Port() == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		return fmt.Errorf("browsers leave out the port %s", u.Port())
	}
	return nil
}

// local says whether a host is the machine that the browser runs on.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
