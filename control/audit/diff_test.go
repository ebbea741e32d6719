package audit_test

import (
	"encoding/json"
	"testing"

	"github.com/alchemi/cockpit/control/audit"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	type limits struct {
		Users *int     `json:"users,omitempty"`
		Tags  []string `json:"tags"`
	}
	type object struct {
		Name   string `json:"name"`
		Limits limits `json:"limits"`
		Secret string `json:"-"`
	}
	ten := 10
	before := object{"Acme", limits{nil, []string{"a"}}, "old"}
	after := object{"Acme & Söhne", limits{&ten, []string{"a", "b"}}, "new"}
	for _, c := range []struct {
		name          string
		before, after any
		want          string
	}{
		{"changed", before, after, `[{"field":"limits.tags","before":["a"],"after":["a","b"]},{"field":"limits.users","after":10},{"field":"name","before":"Acme","after":"Acme \u0026 Söhne"}]`},
		{"the same", before, before, `[]`},
		{"made", nil, before, `[{"field":"limits.tags","after":["a"]},{"field":"name","after":"Acme"}]`},
		{"removed", before, nil, `[{"field":"limits.tags","before":["a"]},{"field":"name","before":"Acme"}]`},
	} {
		got, err := audit.Diff(c.before, c.after)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(got)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, text, c.want, err)
		}
	}
}
