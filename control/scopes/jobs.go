package scopes

import (
	"context"
	"errors"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/jobs"
)

// RegisterJobs adds what is done to many memberships at once.
func RegisterJobs(j *jobs.Jobs) {
	jobs.Register(j, jobs.Operation[Below, MembershipFilter]{Key: "memberships.move", Permission: access.DirectoryWrite, Kind: api.MembershipKind, Chunk: 100,
		Summary: "Move users below a team, an organization or the account; ids are of memberships, and so is the filter",
		Check:   exists,
		IDs:     jobs.AsGiven[Below],
		Filter: func(_ context.Context, c *api.Call, _ *Below, f *MembershipFilter) (jobs.Selection, error) {
			return f.query(c), nil
		},
		Apply: moveAll, Undo: moveAllBack})
}

// exists refuses to move users below what is not there, and keeps its id for what it was named by.
func exists(ctx context.Context, c *api.Call, b *Below) error {
	id, err := b.scope(ctx, c)
	switch {
	case err != nil:
		return err
	case b.Team != "":
		b.Team = api.TeamKind.ID(id)
	case b.Organization != "":
		b.Organization = api.OrganizationKind.ID(id)
	}
	return nil
}

// moved is what is kept of a membership that was moved: the one that began, and where the old one was.
type moved struct {
	Membership string `json:"membership"`
	From       Below  `json:"from"`
}

func moveAll(ctx context.Context, c *api.Call, b *jobs.Batch[Below]) ([]jobs.Outcome, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	below, err := b.Params.scope(ctx, c)
	if err != nil {
		return nil, err
	}
	return jobs.Each(func(ctx context.Context, c *api.Call, _ *jobs.Batch[Below], item *jobs.Item) (jobs.Outcome, error) {
		m, err := loadMembership(ctx, c, item.Number(api.MembershipKind))
		if err != nil {
			return jobs.Outcome{}, err
		}
		if m.parent == below {
			return jobs.Outcome{State: jobs.Unchanged}, nil
		}
		to, err := m.moveTo(ctx, c, below)
		if err != nil {
			return jobs.Outcome{}, err
		}
		return jobs.Outcome{State: jobs.Done, Undo: moved{to.ID, m.Of.below()}}, nil
	})(ctx, c, b)
}

// below names a parent as bodies do.
func (p Parent) below() (b Below) {
	switch p.Kind {
	case api.TeamKind.Name:
		b.Team = p.ID
	case api.OrganizationKind.Name:
		b.Organization = p.ID
	}
	return b
}

// moveAllBack moves users to where they were, if they are still where the job put them.
func moveAllBack(ctx context.Context, c *api.Call, b *jobs.Batch[Below]) ([]jobs.Outcome, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	return jobs.Each(func(ctx context.Context, c *api.Call, _ *jobs.Batch[Below], item *jobs.Item) (jobs.Outcome, error) {
		var was moved
		if err := item.Into(&was); err != nil {
			return jobs.Outcome{}, err
		}
		m, err := loadMembership(ctx, c, api.MembershipKind.Ref(was.Membership).ID)
		var p *api.Problem
		if errors.As(err, &p) && p.Status == http.StatusNotFound {
			return jobs.Outcome{}, api.Conflict("moved_on", "The user is not where the job put him any more.")
		}
		if err != nil {
			return jobs.Outcome{}, err
		}
		below, err := was.From.scope(ctx, c)
		if err != nil {
			return jobs.Outcome{}, err
		}
		if _, err := m.moveTo(ctx, c, below); err != nil {
			return jobs.Outcome{}, err
		}
		return jobs.Outcome{State: jobs.Done}, nil
	})(ctx, c, b)
}
