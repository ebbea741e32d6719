package imports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/jobs"
)

const (
	csvType = "text/csv"
	// chunk is how many lines one transaction applies, while nobody else changes a directory.
	chunk = 500
	// page is how many are judged at once when a file comes.
	page = 2000
)

// Input is what an import is asked with, besides its place and its file.
type Input struct {
	api.Idempotent
	DryRun bool   `query:"dry_run" doc:"change nothing, and say of each line what would come of it"`
	Reason string `query:"reason" maxLength:"1000" doc:"for the audit log"`
}

func (i *Input) input() *Input { return i }

// OfAccount and OfSection are the inputs of imports there.
type (
	OfAccount struct {
		api.AccountPath
		Input
	}
	OfSection struct {
		api.SectionPath
		Input
	}
)

// Doc says how an operation is described.
type Doc struct {
	Path, Summary, Description, Tag string
	Permission                      access.Permission
	Example                         api.Example // with a file
}

// Rules are said of each import.
const Rules = "The body is CSV in UTF-8, whose first line names its columns, in any order. It becomes a job, whose items are the lines: each is judged and applied by itself, and one that is bad " +
	"says why and leaves the others alone. What the file does not name stays as it is, as does what a column would say that is absent. "

type answer struct{ Body jobs.Job }

// Register adds the operation that takes files of the kind, and the jobs that apply their lines. I is OfAccount or OfSection.
func Register[P any, I any, In interface {
	*I
	input() *Input
}](a *api.API, j *jobs.Jobs, k Kind[P], d Doc) {
	work := jobs.Register(j, jobs.Operation[jobs.None, jobs.None]{Key: k.Name + ".import", Summary: d.Summary, Permission: d.Permission, Chunk: chunk, Fills: k.Fills, Apply: k.apply})
	d.Example.Header = map[string]string{"Content-Type": csvType}
	api.Upload(a, api.Operation{Method: http.MethodPost, Path: d.Path, ID: "import" + title(k.Name), Summary: d.Summary, Description: d.Description, Tag: d.Tag, Permission: d.Permission,
		Status: http.StatusAccepted, Examples: []api.Example{d.Example}}, []string{csvType}, func(ctx context.Context, c *api.Call, in *I, file io.ReadSeeker) (*answer, error) {
		lines, err := k.judged(ctx, c, file)
		if err != nil {
			return nil, err
		}
		asked := In(in).input()
		job, err := work.Create(ctx, c, jobs.Draft[jobs.None]{Reason: asked.Reason, DryRun: asked.DryRun}, items(lines))
		if err != nil {
			return nil, err
		}
		return &answer{*job}, nil
	})
}

func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// items are lines as a job keeps them.
func items(lines iter.Seq2[*Line, error]) iter.Seq2[jobs.Item, error] {
	return func(yield func(jobs.Item, error) bool) {
		for l, err := range lines {
			item := jobs.Item{}
			if err == nil {
				if l.Bad() {
					l.Cells = nil
				}
				item.Ref = fmt.Sprintf("line %d", l.Number)
				item.Data, err = json.Marshal(l)
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// judged reads a file twice: to know what its lines name, and to judge them by that and by what is there now.
func (k *Kind[P]) judged(ctx context.Context, c *api.Call, file io.ReadSeeker) (iter.Seq2[*Line, error], error) {
	var named claims
	for l, err := range k.read(file) {
		if err != nil {
			return nil, err
		}
		if !l.Bad() {
			named.add(l.Number, k.Claims(l))
		}
	}
	named.sort()
	lines := k.read(file)
	if k.Sort != nil {
		var all []*Line
		for l, err := range lines {
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
		sorted, err := k.Sort(ctx, c, all)
		if err != nil {
			return nil, err
		}
		lines = each(sorted)
	}
	return k.paged(lines, func(lines []*Line) error {
		for _, l := range lines {
			if !l.Bad() {
				named.check(l, k.Claims(l))
			}
		}
		return nil
	}, k.judge(ctx, c)), nil
}

func (k *Kind[P]) judge(ctx context.Context, c *api.Call) func([]*Line) error {
	judge := k.Judge()
	return func(lines []*Line) error {
		_, err := judge(ctx, c, lines)
		return err
	}
}

func each(lines []*Line) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// read gives the lines of a file from its beginning.
func (k *Kind[P]) read(file io.ReadSeeker) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		_, err := file.Seek(0, io.SeekStart)
		var r *Reader
		if err == nil {
			r, err = NewReader(file, k.Columns)
		}
		for err == nil {
			l := new(Line)
			if err = r.Next(l); err == nil && !yield(l, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// paged gives lines when all steps have seen them, a page at a time.
func (k *Kind[P]) paged(lines iter.Seq2[*Line, error], steps ...func([]*Line) error) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		var held []*Line
		flush := func() bool {
			for _, step := range steps {
				if err := step(held); err != nil {
					yield(nil, err)
					return false
				}
			}
			for _, l := range held {
				if !yield(l, nil) {
					return false
				}
			}
			held = held[:0]
			return true
		}
		for l, err := range lines {
			if err != nil {
				yield(nil, err)
				return
			}
			if held = append(held, l); len(held) == page && !flush() {
				return
			}
		}
		flush()
	}
}

// apply is the work of a job: lines that were bad when the file came stay so, and the others are judged again by what is there
// now. A dry run only says what was found then.
func (k *Kind[P]) apply(ctx context.Context, c *api.Call, b *jobs.Batch[jobs.None]) ([]jobs.Outcome, error) {
	lines := make([]*Line, len(b.Items))
	for i := range b.Items {
		lines[i] = new(Line)
		if err := b.Items[i].Into(lines[i]); err != nil {
			return nil, err
		}
	}
	if !b.DryRun {
		if err := k.change(ctx, c, lines); err != nil {
			return nil, err
		}
	}
	outcomes := make([]jobs.Outcome, len(lines))
	for i, l := range lines {
		outcomes[i] = l.outcome()
	}
	return outcomes, nil
}

func (k *Kind[P]) change(ctx context.Context, c *api.Call, lines []*Line) error {
	if err := c.ChangeDirectory(ctx); err != nil {
		return err
	}
	for _, l := range lines {
		if !l.Bad() {
			l.Verdict = Verdict{}
		}
	}
	plans, err := k.Judge()(ctx, c, lines)
	if err != nil {
		return err
	}
	var applied []*Line
	var planned []P
	for i, l := range lines {
		if l.Applies() {
			applied, planned = append(applied, l), append(planned, plans[i])
		}
	}
	if len(applied) == 0 {
		return nil
	}
	return k.Apply(ctx, c, applied, planned)
}

// Detail is what is said of a line besides what came of it.
type Detail struct {
	Action string   `json:"action,omitempty"`
	Fields []string `json:"fields,omitempty"`
	Column string   `json:"column,omitempty"`
}

func (l *Line) outcome() jobs.Outcome {
	o := jobs.Outcome{State: jobs.Unchanged, Code: l.Code, Reason: l.Reason}
	switch {
	case l.Bad():
		o.State = jobs.Failed
	case l.Applies():
		o.State = jobs.Done
	}
	if d := (Detail{l.Action, l.Fields, l.Column}); d.Action != "" || d.Column != "" {
		o.Detail = d
	}
	return o
}
