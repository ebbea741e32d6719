package unattributed

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
	"github.com/alchemi/cockpit/metering/directory"
)

const (
	asAdmin = "account_admin:acme"
	account = "/v1/accounts/{account}"
	acme    = "/v1/accounts/key:acme"
)

// Register adds the operations.
func Register(a *api.API) {
	const tag, path, one = "Unattributed usage", account + "/attributions", account + "/attributions/{attribution}"
	const there, makes = acme + "/attributions", "createAttribution"
	api.List(a, api.Operation{Path: account + "/unattributed", ID: "listUnattributed", Summary: "Keys that usage names and no user has", Tag: tag, Permission: access.UsersRead,
		Description: "By key and section, as far as it is not corrected. 503 while ClickHouse is away. Of more than 10,000, those of the most credits, or, in the order of last_at, the newest.",
		Examples:    []api.Example{{As: asAdmin, Path: acme + "/unattributed?sort=-last_at"}, {As: "account_viewer:acme", Path: acme + "/unattributed?section=key:copilot&known=false"}}}, list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: makes, Summary: "Say whose a key is", Tag: tag, Permission: access.UsersWrite, Status: http.StatusCreated,
		Description: "The key becomes an identity of the user, for each source that is named; none is needed where it is his own key. To make a user of a key, create one with that key. " +
			"Usage of from now on is charged to him. With correct, what was charged in the open cycles is corrected, too: poll the attribution until it is done.",
		Examples: []api.Example{{As: asAdmin, Path: there, Body: `{"key":"u-77","user":"key:u-3","sources":["alchemi-ai"],"correct":true,"reason":"the pilot's old ids"}`},
			{As: asAdmin, Path: there, Body: `{"key":"u-1","user":"key:u-3","reason":"it is another's"}`, Status: http.StatusConflict}}}, create)
	api.List(a, api.Operation{Path: path, ID: "listAttributions", Summary: "What was said of keys", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: asAdmin, Path: there + "?state=done"}, {As: "account_viewer:acme", Path: there + "?user=key:u-3"}}}, listAttributions)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: one, ID: "getAttribution", Summary: "An attribution, and how far its correction is", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: asAdmin, Path: there + "/{id}", Make: makes}}}, get)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/retry", ID: "retryAttribution", Summary: "Try a correction again", Tag: tag, Permission: access.UsersWrite,
		Description: "One that failed, or one that is done, in case something was missed.",
		Examples:    []api.Example{{As: asAdmin, Path: there + "/{id}/retry", Make: makes, Status: http.StatusConflict}}}, retry)
}

type createInput struct {
	api.AccountPath
	api.Idempotent
	Body struct {
		Key     string   `json:"key" minLength:"1" maxLength:"256" doc:"as usage names it; case-sensitive"`
		User    string   `json:"user" minLength:"1" maxLength:"300" doc:"his id, or key: and his key"`
		Sources []string `json:"sources,omitempty" maxItems:"50" nullable:"false" doc:"who calls him so"`
		Section string   `json:"section,omitempty" maxLength:"200" doc:"correct only this section's charges: its id, or key: and its key"`
		Correct bool     `json:"correct,omitempty" doc:"also what was charged in the open cycles"`
		Reason  string   `json:"reason" minLength:"1" maxLength:"1000" doc:"for the journal and the audit log, which keep it: without his name"`
	}
}

// user finds whom the attribution is of, and who has the key as his own; 0: nobody.
func user(ctx context.Context, c *api.Call, named, key string) (id, holder int64, err error) {
	ref := api.UserKind.Ref(named)
	var erased bool
	rows, err := c.Tx.Query(ctx, `SELECT id, erased_at IS NOT NULL, coalesce((SELECT o.id FROM users o WHERE o.account_id = $1 AND o.key = $4),
			(SELECT a.user_id FROM key_aliases a WHERE a.account_id = $1 AND a.kind = 'user' AND a.key = $4), 0)
		FROM users WHERE account_id = $1 AND (id = $2 OR key = $3)`, c.Account.ID, ref.ID, ref.Key, key)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	if !rows.Next() {
		return 0, 0, api.Invalid("body.user", "there is no such user")
	}
	if err := rows.Scan(&id, &erased, &holder); err != nil {
		return 0, 0, err
	}
	if erased {
		err = api.Conflict("user_erased", "The user is erased: nothing of him can be changed any more.")
	}
	return id, holder, err
}

func create(ctx context.Context, c *api.Call, in *createInput) (*struct{ Body Attribution }, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	b := &in.Body
	section, err := c.FindSection(ctx, "body.section", b.Section)
	if err != nil {
		return nil, err
	}
	id, holder, err := user(ctx, c, b.User, b.Key)
	if err != nil {
		return nil, err
	}
	switch {
	case holder != 0 && holder != id:
		return nil, api.Conflict("key_taken", "It is another user's key.")
	case holder == 0 && len(b.Sources) == 0:
		return nil, api.Invalid("body.sources", "name who calls him so, since it is not his key")
	case holder == 0:
		for _, source := range b.Sources {
			if source == "" || len(source) > sourceMax {
				return nil, api.Invalid("body.sources", "a source is 1 to 256 bytes")
			}
			if _, _, err := naming.AddIdentity(ctx, c, id, source, b.Key); err != nil {
				return nil, err
			}
		}
	}
	state := "done"
	if b.Correct {
		state = "waiting"
	}
	var number int64
	err = c.Tx.QueryRow(ctx, `INSERT INTO attributions (account_id, user_id, key, section_id, correct, author, reason, state, due_at, created_at, finished_at)
		VALUES ($1, $2, $3, nullif($4, 0), $5, $6, $7, $8, $9, $10::timestamptz, CASE WHEN NOT $5 THEN $10::timestamptz END) RETURNING id`,
		c.Account.ID, id, b.Key, section, b.Correct, author(c), b.Reason, state, c.Now.Add(directory.PriceLead), c.Now).Scan(&number)
	if err != nil {
		return nil, err
	}
	a, err := load(ctx, c, number)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Attribution }{*a}, a.record(ctx, c, "created", nil)
}

const sourceMax = 256

// author is the caller as the journal has him.
func author(c *api.Call) string { return c.Actor().ID }

type listAttributionsInput struct {
	api.AccountPath
	api.Page
	State string `query:"state" enum:"waiting,running,done,failed" doc:"only those in this state"`
	User  string `query:"user" maxLength:"300" doc:"only those of this user: his id, or key: and his key"`
	Key   string `query:"key" maxLength:"256" doc:"only those of this key"`
	Sort  string `query:"sort" enum:"created_at,-created_at" default:"-created_at"`
}

func listAttributions(_ context.Context, c *api.Call, in *listAttributionsInput) (*api.Query[Attribution], error) {
	q := &api.Query[Attribution]{Select: columns, From: tables, ID: "t.id", Scan: scanAttribution}
	var err error
	if q.Sort, err = api.SortBy(in.Sort, map[string]api.Sort{"created_at": {By: "t.created_at", Type: "timestamptz"}}); err != nil {
		return nil, err
	}
	q.Filter("t.account_id = ?", c.Account.ID)
	if in.State != "" {
		q.Filter("t.state = ?", in.State)
	}
	if in.User != "" {
		ref := api.UserKind.Ref(in.User)
		q.Filter("u.id = ? OR u.key = ?", ref.ID, ref.Key)
	}
	if in.Key != "" {
		q.Filter("t.key = ?", in.Key)
	}
	return q, nil
}

// AttributionPath is the attribution of a path.
type AttributionPath struct {
	api.AccountPath
	Attribution string `path:"attribution" maxLength:"200" doc:"the attribution's id" example:"atr_1"`
}

func get(ctx context.Context, c *api.Call, in *AttributionPath) (*struct{ Body Attribution }, error) {
	a, err := load(ctx, c, api.AttributionKind.Ref(in.Attribution).ID)
	return &struct{ Body Attribution }{*a}, err
}

type retryInput struct {
	AttributionPath
	api.Idempotent
}

func retry(ctx context.Context, c *api.Call, in *retryInput) (*struct{ Body Attribution }, error) {
	before, err := load(ctx, c, api.AttributionKind.Ref(in.Attribution).ID)
	if err != nil {
		return nil, err
	}
	tag, err := c.Tx.Exec(ctx, `UPDATE attributions t SET state = 'waiting', correct = true, due_at = $3, below = NULL, error = '', finished_at = NULL FROM users u
		WHERE t.account_id = $1 AND t.id = $2 AND t.state IN ('done', 'failed') AND u.account_id = t.account_id AND u.id = t.user_id AND u.erased_at IS NULL`, c.Account.ID, before.number, c.Now)
	if err != nil {
		return nil, err
	}
	a, err := load(ctx, c, before.number)
	switch {
	case err != nil:
		return nil, err
	case tag.RowsAffected() == 0 && (a.State == "done" || a.State == "failed"):
		return nil, api.Conflict("user_erased", "The user is erased: nothing of him can be changed any more.")
	case tag.RowsAffected() == 0:
		return nil, api.Conflict("attribution_"+a.State, "It is "+a.State+" already.")
	}
	return &struct{ Body Attribution }{*a}, a.record(ctx, c, "retried", before)
}
