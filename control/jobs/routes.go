package jobs

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

const tag = "Jobs"

// where is a place that jobs are made in.
type where struct {
	level            access.Level
	path, ids        string // ids: what of the operations' names says the place
	read             access.Permission
	as, there        string // of examples
	example, refused string // the body of one, and of one that is refused
}

var wheres = map[access.Level]where{
	access.Platform: {access.Platform, "/v1/jobs", "Platform", access.PlatformRead, "super_admin", "/v1/jobs",
		`{"operation":"accounts.suspend","ids":["key:initech"],"reason":"as agreed by mail","dry_run":true}`, `{"operation":"users.deactivate","ids":[]}`},
	access.Account: {access.Account, "/v1/accounts/{account}/jobs", "", access.AccountRead, "account_admin:acme", "/v1/accounts/key:acme/jobs",
		`{"operation":"users.deactivate","ids":["key:u-3"],"reason":"left"}`, `{"operation":"users.deactivate"}`},
	access.Section: {access.Section, "/v1/accounts/{account}/sections/{section}/jobs", "Section", access.SectionRead, "section_admin:acme/copilot", "/v1/accounts/key:acme/sections/key:copilot/jobs",
		`{"operation":"memberships.move","filter":{"top":true},"params":{},"dry_run":true}`, `{"operation":"memberships.move","ids":["mem_1"],"params":{"team":"key:nowhere"}}`},
}

// Inputs of a place are those of all, with its path.
type (
	CreateInput struct {
		api.Idempotent
		Body newJob
	}
	createPlatform struct{ CreateInput }
	createAccount  struct {
		api.AccountPath
		CreateInput
	}
	createSection struct {
		api.SectionPath
		CreateInput
	}

	ListInput struct {
		api.Page
		State     string `query:"state" enum:"queued,running,done,cancelled,failed" doc:"only those in this state"`
		Operation string `query:"operation" maxLength:"100" doc:"only those of this operation"`
	}
	listPlatform struct{ ListInput }
	listAccount  struct {
		api.AccountPath
		ListInput
	}
	listSection struct {
		api.SectionPath
		ListInput
	}

	JobPath struct {
		Job string `path:"job" maxLength:"200" doc:"the job's id" example:"job_1"`
	}
	OneInput    struct{ JobPath }
	onePlatform struct{ OneInput }
	oneAccount  struct {
		api.AccountPath
		OneInput
	}
	oneSection struct {
		api.SectionPath
		OneInput
	}

	ChangeInput struct {
		JobPath
		api.Idempotent
	}
	changePlatform struct{ ChangeInput }
	changeAccount  struct {
		api.AccountPath
		ChangeInput
	}
	changeSection struct {
		api.SectionPath
		ChangeInput
	}

	ItemsInput struct {
		JobPath
		api.Page
		State string `query:"state" enum:"pending,done,unchanged,failed" doc:"only those of which this came"`
	}
	itemsPlatform struct{ ItemsInput }
	itemsAccount  struct {
		api.AccountPath
		ItemsInput
	}
	itemsSection struct {
		api.SectionPath
		ItemsInput
	}

	UndoInput struct {
		JobPath
		api.Idempotent
		Body struct {
			Reason string `json:"reason,omitempty" maxLength:"1000" doc:"for the audit log"`
		}
	}
	undoPlatform struct{ UndoInput }
	undoAccount  struct {
		api.AccountPath
		UndoInput
	}
	undoSection struct {
		api.SectionPath
		UndoInput
	}

	EventsInput struct {
		JobPath
		api.Watched
	}
	eventsPlatform struct{ EventsInput }
	eventsAccount  struct {
		api.AccountPath
		EventsInput
	}
	eventsSection struct {
		api.SectionPath
		EventsInput
	}
)

func (i *EventsInput) of() *EventsInput { return i }
func (i *UndoInput) of() *UndoInput     { return i }
func (i *CreateInput) of() *CreateInput { return i }
func (i *ListInput) of() *ListInput     { return i }
func (i *OneInput) of() *OneInput       { return i }
func (i *ChangeInput) of() *ChangeInput { return i }
func (i *ItemsInput) of() *ItemsInput   { return i }

type answer struct{ Body Job }

// Serve adds the routes, when all operations are registered, and makes their workers a part of the API's Run.
func (j *Jobs) Serve() {
	p, a, s := wheres[access.Platform], wheres[access.Account], wheres[access.Section]
	serveMaking[createPlatform, undoPlatform, changePlatform](j, p)
	serveMaking[createAccount, undoAccount, changeAccount](j, a)
	serveMaking[createSection, undoSection, changeSection](j, s)
	serveReading[listPlatform, onePlatform, itemsPlatform, eventsPlatform](j, p)
	serveReading[listAccount, oneAccount, itemsAccount, eventsAccount](j, a)
	serveReading[listSection, oneSection, itemsSection, eventsSection](j, s)
	j.api.Beside(j.Run)
}

// input is one that has the common part T, page one of a list, watch one of what is watched.
type (
	input[I, T any] interface {
		*I
		of() *T
	}
	page[I, T any] interface {
		*I
		of() *T
		Paging() *api.Page
	}
	watch[I, T any] interface {
		*I
		of() *T
		AtMost() time.Duration
	}
)

func (w where) one() string   { return w.path + "/{job}" }
func (w where) made() string  { return w.there + "/{id}" }
func (w where) makes() string { return "create" + w.ids + "Job" }

func serveMaking[C, U, H any, PC input[C, CreateInput], PU input[U, UndoInput], PH input[H, ChangeInput]](j *Jobs, w where) {
	a := j.api
	api.Write(a, api.Operation{Method: http.MethodPost, Path: w.path, ID: w.makes(), Summary: "Make a job: do something to many", Description: j.described(w.level), Tag: tag,
		Permission: w.read, Status: http.StatusAccepted, Examples: []api.Example{{As: w.as, Path: w.there, Body: w.example}, {As: w.as, Path: w.there, Body: w.refused, Status: http.StatusUnprocessableEntity}}},
		func(ctx context.Context, c *api.Call, in *C) (*answer, error) { return j.post(ctx, c, PC(in).of()) })
	api.Write(a, api.Operation{Method: http.MethodPost, Path: w.one() + "/cancel", ID: "cancel" + w.ids + "Job", Summary: "Stop a job", Tag: tag, Permission: w.read,
		Description: "Items that were done stay done; those in the middle of being done are undone. It needs the operation's permission.",
		Examples:    []api.Example{{As: w.as, Path: w.made() + "/cancel", Make: w.makes()}}},
		func(ctx context.Context, c *api.Call, in *H) (*answer, error) { return j.cancel(ctx, c, PH(in).of()) })
	api.Write(a, api.Operation{Method: http.MethodPost, Path: w.one() + "/undo", ID: "undo" + w.ids + "Job", Summary: "Undo what a job did", Tag: tag, Permission: w.read, Status: http.StatusAccepted,
		Description: "Makes a job of exactly the items that it did, the last first. It needs the operation's permission. What has changed since and can't be taken back is an item that failed.",
		Examples:    []api.Example{{As: w.as, Path: w.made() + "/undo", Make: w.makes(), Body: `{"reason":"a mistake"}`, Status: http.StatusConflict}}},
		func(ctx context.Context, c *api.Call, in *U) (*answer, error) { return j.undo(ctx, c, PU(in).of()) })
}

func serveReading[L, O, M, E any, PL page[L, ListInput], PO input[O, OneInput], PM page[M, ItemsInput], PE watch[E, EventsInput]](j *Jobs, w where) {
	a := j.api
	api.List[L, PL](a, api.Operation{Path: w.path, ID: "list" + w.ids + "Jobs", Summary: "Jobs, the newest first", Tag: tag, Permission: w.read,
		Examples: []api.Example{{As: w.as, Path: w.there + "?state=done"}}},
		func(ctx context.Context, c *api.Call, in *L) (*api.Query[Job], error) {
			return j.list(ctx, c, PL(in).of())
		})
	api.Read(a, api.Operation{Method: http.MethodGet, Path: w.one(), ID: "get" + w.ids + "Job", Summary: "A job, and how far it is", Tag: tag, Permission: w.read,
		Examples: []api.Example{{As: w.as, Path: w.made(), Make: w.makes()}}},
		func(ctx context.Context, c *api.Call, in *O) (*answer, error) { return j.get(ctx, c, PO(in).of()) })
	api.List[M, PM](a, api.Operation{Path: w.one() + "/items", ID: "list" + w.ids + "JobItems", Summary: "What came of a job's items", Tag: tag, Permission: w.read,
		Examples: []api.Example{{As: w.as, Path: w.made() + "/items?state=failed", Make: w.makes()}}},
		func(ctx context.Context, c *api.Call, in *M) (*api.Query[JobItem], error) {
			return j.items(ctx, c, PM(in).of())
		})
	api.Watch[E, PE](a, api.Operation{Path: w.one() + "/events", ID: "watch" + w.ids + "Job", Summary: "Watch a job", Tag: tag, Permission: w.read,
		Description: "Server-sent events, until the job has ended.", Examples: []api.Example{{As: w.as, Path: w.made() + "/events?seconds=1", Make: w.makes()}}}, "job",
		func(ctx context.Context, c *api.Call, in *E) (*Job, bool, error) {
			v, err := j.load(ctx, c, PE(in).of().Job, "")
			return v, err == nil && v.ended(), err
		})
}

// described lists the operations of a place.
func (j *Jobs) described(level access.Level) string {
	text := []string{"It is done in the background: look at the job, or watch it. The caller needs the operation's permission. Operations:"}
	for _, key := range slices.Sorted(maps.Keys(j.operations)) {
		op := j.operations[key]
		if op.level != level || op.ids == nil && op.selects == nil {
			continue
		}
		line := fmt.Sprintf("- `%s`: %s (`%s`)", key, op.summary, op.permission)
		for _, part := range []struct{ name, fields string }{{"params", op.params.fields()}, {"filter", op.filter.fields()}} {
			if part.fields != "" && (part.name == "params" || op.selects != nil) {
				line += "; " + part.name + ": " + part.fields
			}
		}
		text = append(text, line)
	}
	return strings.Join(text, "\n")
}

func (j *Jobs) list(_ context.Context, c *api.Call, in *ListInput) (*api.Query[Job], error) {
	account, section := place(c)
	q := &api.Query[Job]{Select: columns, From: "jobs j", ID: "j.id", Sort: api.Sort{By: "j.id", Type: "bigint", Desc: true}, Scan: j.scan}
	if account == 0 {
		q.Filter("j.account_id IS NULL")
	} else {
		q.Filter("j.account_id = ? AND coalesce(j.section_id, 0) = ?", account, section)
	}
	if in.State != "" {
		q.Filter("j.state = ?", in.State)
	}
	if in.Operation != "" {
		q.Filter("j.operation = ?", in.Operation)
	}
	return q, nil
}

func (j *Jobs) get(ctx context.Context, c *api.Call, in *OneInput) (*answer, error) {
	v, err := j.load(ctx, c, in.Job, "")
	if err != nil {
		return nil, err
	}
	return &answer{*v}, nil
}

func (j *Jobs) items(ctx context.Context, c *api.Call, in *ItemsInput) (*api.Query[JobItem], error) {
	v, err := j.load(ctx, c, in.Job, "")
	if err != nil {
		return nil, err
	}
	q := &api.Query[JobItem]{Select: itemColumns, From: "job_items i", ID: "i.seq", Sort: api.Sort{By: "i.seq", Type: "bigint"}, Scan: scanItem}
	q.Filter("i.job_id = ?", v.number)
	if in.State != "" {
		q.Filter("i.state = ?", in.State)
	}
	return q, nil
}
