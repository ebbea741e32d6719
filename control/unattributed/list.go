package unattributed

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/rollups"
	"github.com/jackc/pgx/v5"
)

// keysMost is how many keys a list has at most: one that is longer was sent by a program that went wrong.
const keysMost = 10_000

// UnknownKey is a key that no user had when usage named it, in one section.
type UnknownKey struct {
	Key          string     `json:"key" example:"u-77" doc:"empty: it named neither user nor team"`
	Section      KeySection `json:"section"`
	Sources      []string   `json:"sources" nullable:"false" doc:"whose usage named it; the first 16"`
	Events       int64      `json:"events" doc:"that are not corrected, as far as they are still kept"`
	Credits      string     `json:"credits" example:"12.500000" doc:"in the section's unit"`
	CycleEvents  int64      `json:"cycle_events" doc:"of the open cycle"`
	CycleCredits string     `json:"cycle_credits" example:"2.500000"`
	FirstAt      time.Time  `json:"first_at" doc:"when the first happened"`
	LastAt       time.Time  `json:"last_at"`
	User         *Owner     `json:"user,omitempty" doc:"who has the key by now: what came before is not corrected"`
}

// KeySection is a section as keys name it.
type KeySection struct {
	ID   string `json:"id" example:"sec_1"`
	Key  string `json:"key" example:"copilot"`
	Unit string `json:"unit" enum:"credits,usd"`
}

// Owner is a user as keys and attributions name him.
type Owner struct {
	ID  string `json:"id" example:"usr_1"`
	Key string `json:"key" example:"u-1"`
}

func owner(id int64, key string) *Owner {
	if id == 0 {
		return nil
	}
	return &Owner{api.UserKind.ID(id), key}
}

type listInput struct {
	api.AccountPath
	api.Page
	Section string `query:"section" maxLength:"200" doc:"only those of this section: its id, or key: and its key"`
	Source  string `query:"source" maxLength:"256" doc:"only what this source sent"`
	Q       string `query:"q" maxLength:"200" doc:"only keys with this in them, in any case"`
	Known   string `query:"known" enum:"true,false" doc:"only those that a user has by now, or only those that none has"`
	Sort    string `query:"sort" enum:"-credits,credits,-cycle_credits,cycle_credits,-events,events,-last_at,last_at,key,-key" default:"-credits"`
}

var sorts = map[string]api.Sort{"credits": {By: "k.credits", Type: "numeric"}, "cycle_credits": {By: "k.cycle_credits", Type: "numeric"},
	"events": {By: "k.events", Type: "bigint"}, "last_at": {By: "k.last_at", Type: "bigint"}, "key": {By: "k.key", Type: "text"}}

// table has what ClickHouse says as rows, with who has each key now: by his key, or as an identity of one of the sources.
const table = `unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[], $6::numeric[], $7::numeric[], $8::bigint[], $9::bigint[])
		k(section_id, key, sources, events, cycle_events, credits, cycle_credits, first_at, last_at) JOIN sections s ON s.id = k.section_id
	LEFT JOIN LATERAL (SELECT id, key FROM (
			SELECT u.id, u.key FROM users u WHERE u.account_id = $10 AND u.key = k.key
			UNION ALL SELECT u.id, u.key FROM key_aliases a JOIN users u ON u.account_id = a.account_id AND u.id = a.user_id
				WHERE a.account_id = $10 AND a.kind = 'user' AND a.section_id IS NULL AND a.key = k.key
			UNION ALL SELECT u.id, u.key FROM user_identities i JOIN users u ON u.account_id = i.account_id AND u.id = i.user_id
				WHERE i.account_id = $10 AND i.value = k.key AND i.valid_to = 'infinity' AND k.sources ? i.source) o LIMIT 1) u ON true`

func list(ctx context.Context, c *api.Call, in *listInput) (*api.Query[UnknownKey], error) {
	q := &api.Query[UnknownKey]{From: table, ID: `hashtextextended(k.section_id || ' ' || k.key, 0)`, Scan: scan,
		Select: `k.key, s.id, s.key, s.unit, k.sources, k.events, k.credits::text, k.cycle_events, k.cycle_credits::text, k.first_at, k.last_at, coalesce(u.id, 0), coalesce(u.key, '')`}
	var err error
	if q.Sort, err = api.SortBy(in.Sort, sorts); err != nil {
		return nil, err
	}
	section, err := c.FindSection(ctx, "query.section", in.Section)
	if err != nil {
		return nil, err
	}
	if q.Args, err = read(ctx, c, section, in.Source, strings.HasSuffix(in.Sort, "last_at")); err != nil {
		return nil, err
	}
	q.Search(in.Q, "k.key")
	if in.Known != "" {
		q.Filter("(u.id IS NOT NULL) = ?", in.Known == "true")
	}
	return q, nil
}

func scan(row pgx.CollectableRow) (k UnknownKey, err error) {
	var section, first, last, user int64
	var key string
	err = row.Scan(&k.Key, &section, &k.Section.Key, &k.Section.Unit, &k.Sources, &k.Events, &k.Credits, &k.CycleEvents, &k.CycleCredits, &first, &last, &user, &key)
	k.Section.ID, k.FirstAt, k.LastAt, k.User = api.SectionKind.ID(section), time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC(), owner(user, key)
	return k, err
}

// read asks ClickHouse, and returns the columns of the table.
func read(ctx context.Context, c *api.Call, section int64, source string, newest bool) ([]any, error) {
	ch, err := c.ClickHouse()
	if err != nil {
		return nil, err
	}
	open, err := openCycles(ctx, c)
	if err != nil {
		return nil, err
	}
	keys, err := rollups.Unattributed(ctx, ch, rollups.UnattributedQuery{Account: c.Account.ID, Section: section, Source: source, Newest: newest, Open: open, Most: keysMost})
	if err != nil {
		return nil, api.UsageAway(err)
	}
	n := len(keys)
	sections, events, inCycle, first, last := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	names, sources, credits, cycleCredits := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, k := range keys {
		list, err := json.Marshal(k.Sources)
		if err != nil {
			return nil, err
		}
		sections[i], names[i], sources[i], events[i], inCycle[i], first[i], last[i] = k.Section, k.Key, string(list), k.Events, k.CycleEvents, k.FirstMicros, k.LastMicros
		credits[i], cycleCredits[i] = k.Credits.StringFixed(places), k.CycleCredits.StringFixed(places)
	}
	return []any{sections, names, sources, events, inCycle, credits, cycleCredits, first, last, c.Account.ID}, nil
}

// places of credits.
const places = 6

// openCycles is when each section's cycle began that is open now, in Unix s.
func openCycles(ctx context.Context, c *api.Call) (map[int64]int64, error) {
	rows, err := c.Tx.Query(ctx, `SELECT section_id, extract(epoch FROM start_at)::bigint FROM cycles WHERE account_id = $1 AND start_at <= $2 AND end_at > $2`, c.Account.ID, c.Now)
	if err != nil {
		return nil, err
	}
	open := map[int64]int64{}
	var section, start int64
	_, err = pgx.ForEachRow(rows, []any{&section, &start}, func() error { open[section] = start; return nil })
	return open, err
}
