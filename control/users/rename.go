package users

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
)

func registerRenaming(a *api.API) {
	api.Write(a, api.Operation{Method: http.MethodPost, Path: onePath + "/rename", ID: "renameUser", Summary: "Give a user another key", Tag: tag, Permission: access.UsersWrite,
		Description: "The one that he had goes on naming him, as an alias: usage of either is his, whatever its time. It is never another's.",
		Examples: []api.Example{{As: asAdmin, Path: made + "/rename", Make: "createUser", Body: `{"key":"frances"}`},
			{As: asAdmin, Path: ofAcme + "/key:u-3/rename", Body: `{"key":"u-1"}`, Status: http.StatusConflict}}}, rename)
}

type renameInput struct {
	UserPath
	api.Idempotent
	Body struct {
		Key string `json:"key" maxLength:"256" doc:"in Unicode form NFC; case-sensitive"`
	}
}

func rename(ctx context.Context, c *api.Call, in *renameInput) (*api.Answer[User], error) {
	key, err := api.GivenKey(in.Body.Key)
	if err != nil {
		return nil, err
	}
	before, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	if err := (naming.Keyed{Account: c.Account.ID, Kind: api.UserKind.Name, ID: before.number}).Rename(ctx, c.Tx, key, c.Now); err != nil {
		return nil, err
	}
	u, err := load(ctx, c, api.Ref{ID: before.number})
	if err != nil {
		return nil, err
	}
	return u.answer(), u.record(ctx, c, "user.renamed", "", before)
}
