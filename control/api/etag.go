package api

import (
	"net/http"
	"strconv"
	"strings"
)

// ETag is the entity tag of a revision.
func ETag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }

// Answer is an object and its ETag.
type Answer[T any] struct {
	ETag string `header:"ETag" doc:"the object's revision, for If-Match and If-None-Match"`
	Body T
}

// NewAnswer is the answer with an object.
func NewAnswer[T any](revision int64, body T) *Answer[T] {
	return &Answer[T]{ETag: ETag(revision), Body: body}
}

func (a *Answer[T]) entityTag() string { return a.ETag }

// IfMatch is embedded by the inputs of operations that change an object.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"200" doc:"the ETag of the object that the change is meant for; * for whatever it is now. Without it: 428" example:"*"`
}

// Check compares with the object as it is, locked: current at revision. yours is what was asked for.
func (m IfMatch) Check(revision int64, current, yours any) error {
	switch m.IfMatch {
	case "":
		return NewProblem(http.StatusPreconditionRequired, CodePrecondition, "Send If-Match with the ETag of the object that you saw, or * to change it whatever it is.")
	case "*", ETag(revision):
		return nil
	}
	p := Conflict(CodeStale, "Somebody else changed it since: it is as current says, and was not changed to yours.").With("ETag", ETag(revision))
	p.Current, p.Yours = current, yours
	return p
}

// IfNoneMatch is embedded by the inputs of operations that answer with one object.
type IfNoneMatch struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"200" doc:"the ETag that you have: 304 if it is still that"`
}

func (m IfNoneMatch) has(tag string) bool {
	for t := range strings.SplitSeq(m.IfNoneMatch, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}
