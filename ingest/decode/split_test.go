package decode_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/alchemi/cockpit/ingest/decode"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string // nil: refused
	}{
		{`[]`, []string{}},
		{" [ ]\n", []string{}},
		{`[1]`, []string{"1"}},
		{`[{"a":[1,2]} , {"b":"],{\"\\"},null]`, []string{`{"a":[1,2]}`, `{"b":"],{\"\\"}`, `null`}},
		{`[{"a":nonsense},2]`, []string{`{"a":nonsense}`, "2"}},
		{``, nil}, {`[`, nil}, {`]`, nil}, {`{}`, nil}, {`[1,]`, nil}, {`[,1]`, nil}, {`[1]]`, nil}, {`[1][2]`, nil}, {`[1],[2]`, nil}, {`[1}`, nil}, {`["a]`, nil}, {`["a\"]`, nil}, {`["`, nil},
	} {
		got, err := decode.Split([]byte(c.in), 100)
		if (err != nil) != (c.want == nil) || len(got) != len(c.want) {
			t.Errorf("%q: %q, %v", c.in, got, err)
			continue
		}
		for i := range got {
			if string(got[i]) != c.want[i] {
				t.Errorf("%q: element %d is %q", c.in, i, got[i])
			}
		}
	}
}

func TestSplitStopsAtItsLimit(t *testing.T) {
	t.Parallel()
	if got, err := decode.Split([]byte(`[1,2,3,4,5`), 2); err != nil || len(got) != 3 {
		t.Errorf("%q, %v", got, err)
	}
}

// Whatever encoding/json takes for an array, Split splits alike.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{`[]`, `[1,"a\\\"",{"b":[null,{}]}]`, `[[],[[]]]`, `["\\"]`, `[1`, `"[1]"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode.Split(b, len(b))
		var want []json.RawMessage
		if json.Unmarshal(b, &want) != nil || want == nil {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q: %q, %v", b, got, err)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%q: element %d is %q and not %q", b, i, got[i], want[i])
			}
		}
	})
}
