package invites

import (
	"context"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/jobs"
)

// jobChunk is how many invites go out in one transaction.
const jobChunk = 100

// Users is how the noun of users finds those of a job: by what names them, and by the filter of their list.
type Users[F any] struct {
	IDs    func(context.Context, *api.Call, []string) ([]string, error)
	Filter func(context.Context, *api.Call, *F) (jobs.Selection, error)
}

// RegisterJobs adds what is done with many invites of a section at once. They go out by mail: nobody would see their links.
func RegisterJobs[F any](j *jobs.Jobs, of Users[F]) {
	jobs.Register(j, jobs.Operation[Again, F]{Key: "invites.send", Permission: access.DirectoryWrite, Kind: api.UserKind, Chunk: jobChunk,
		Summary: "Invite users of the section by mail; undoing it revokes those that were not accepted", Check: usual,
		IDs: func(ctx context.Context, c *api.Call, _ *Again, ids []string) ([]string, error) {
			return of.IDs(ctx, c, ids)
		},
		Filter: func(ctx context.Context, c *api.Call, _ *Again, f *F) (jobs.Selection, error) {
			return of.Filter(ctx, c, f)
		},
		Apply: jobs.Each(sendItem), Undo: jobs.Each(revokeSent)})
	jobs.Register(j, jobs.Operation[Again, Filters]{Key: "invites.resend", Permission: access.DirectoryWrite, Kind: api.InviteKind, Chunk: jobChunk,
		Summary: "Send the section's invites by mail again", Check: usual, IDs: jobs.AsGiven[Again], Filter: filtered[Again], Apply: jobs.Each(resendItem)})
	jobs.Register(j, jobs.Operation[jobs.None, Filters]{Key: "invites.revoke", Permission: access.DirectoryWrite, Kind: api.InviteKind, Chunk: jobChunk,
		Summary: "Revoke the section's invites", IDs: jobs.AsGiven[jobs.None], Filter: filtered[jobs.None], Apply: jobs.Each(revokeItem)})
}

// usual fills in what a job's parameters leave out.
func usual(_ context.Context, _ *api.Call, a *Again) error {
	if a.Days == 0 {
		a.Days = daysDefault
	}
	return nil
}

func filtered[P any](_ context.Context, c *api.Call, _ *P, f *Filters) (jobs.Selection, error) {
	return f.ofSection(c), nil
}

// made is what is kept of an invite that went out.
type made struct {
	Invite string `json:"invite"`
}

func sendItem(ctx context.Context, c *api.Call, b *jobs.Batch[Again], item *jobs.Item) (o jobs.Outcome, err error) {
	d, err := ofUser(ctx, c, api.UserKind.Ref(item.Ref))
	if err != nil {
		return o, err
	}
	d.Delivery = Delivery{byMail, b.Params.Days}
	s, err := d.send(ctx, c)
	if err != nil {
		return o, err
	}
	return jobs.Outcome{State: jobs.Done, Undo: made{s.Body.ID}}, nil
}

func revokeSent(ctx context.Context, c *api.Call, b *jobs.Batch[Again], item *jobs.Item) (o jobs.Outcome, err error) {
	var sent made
	if err := item.Into(&sent); err != nil {
		return o, err
	}
	return revokeOne(ctx, c, sent.Invite)
}

func revokeItem(ctx context.Context, c *api.Call, _ *jobs.Batch[jobs.None], item *jobs.Item) (jobs.Outcome, error) {
	return revokeOne(ctx, c, item.Ref)
}

func revokeOne(ctx context.Context, c *api.Call, invite string) (o jobs.Outcome, err error) {
	i, err := find(ctx, c, invite, true)
	if err != nil {
		return o, err
	}
	if i.state == "revoked" {
		return jobs.Outcome{State: jobs.Unchanged}, nil
	}
	if _, err := revoke(ctx, c, i); err != nil {
		return o, err
	}
	return jobs.Outcome{State: jobs.Done}, nil
}

func resendItem(ctx context.Context, c *api.Call, b *jobs.Batch[Again], item *jobs.Item) (o jobs.Outcome, err error) {
	i, err := find(ctx, c, item.Ref, true)
	if err != nil {
		return o, err
	}
	if i.Delivery == byLink {
		return o, api.Conflict("by_link", "The invite went out by link, which nobody would see: send it again by itself.")
	}
	if _, err := i.sendAgain(ctx, c, b.Params.Days); err != nil {
		return o, err
	}
	return jobs.Outcome{State: jobs.Done}, nil
}
