package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Finding is what Check found about one thing.
type Finding struct {
	Check  string
	Result string // ok, warning or failed
	Detail string
}

// Check looks at the service user's rights, as far as reading shows them: it changes nothing. What it may write shows when it
// does: rows wait with permission_denied.
func (s *Service) Check(ctx context.Context) (findings []Finding) {
	say := func(check string, err error, good string) bool {
		f := Finding{check, "ok", good}
		var said *answerError
		switch {
		case errors.As(err, &said) && (said.Status == http.StatusForbidden || said.Status == http.StatusUnauthorized):
			f.Result, f.Detail = "failed", fmt.Sprintf("the service user %s may not: %v", s.api.key.UserID, said)
		case err != nil:
			f.Result, f.Detail = "failed", short(err.Error())
		}
		findings = append(findings, f)
		return err == nil
	}
	if _, err := s.api.bearer(ctx); !say("service user", err, s.api.key.UserID+" gets tokens") {
		return findings
	}
	there, err := s.api.hasOrganization(ctx, s.cfg.Platform)
	if err == nil && !there {
		err = errors.New("the platform's organization is not listed: COCKPIT_PLATFORM_ORGANIZATION is another, or org.read is missing on the instance")
	}
	say("organizations", err, "are listed")
	list, err := s.api.listUsers(ctx, byIDs([]string{s.api.key.UserID}))
	if err == nil && len(list) == 0 {
		err = errors.New("the service user does not see itself: user.read is missing on the instance")
	}
	say("users", err, "are listed")
	_, err = s.api.listAuthorizations(ctx, 0, filter("projectId", s.cfg.Project))
	say("authorizations", err, "are listed; that it sees all of them only user.grant.read on the instance gives")
	if len(s.cfg.Secrets) == 0 {
		findings = append(findings, Finding{"events", "warning", "COCKPIT_ZITADEL_WEBHOOK_SECRET is not set: what is changed at ZITADEL is known within the hour, from lists"})
	} else {
		findings = append(findings, Finding{"events", "ok", fmt.Sprintf("signed by one of %d secrets; that a target sends them, and which, is not seen from here", len(s.cfg.Secrets))})
	}
	return findings
}
