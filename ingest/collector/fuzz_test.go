package collector

import (
	"net/url"
	"strings"
	"testing"
)

// The CloudEvents HTTP binding encodes what a header can't hold: what was encoded comes back, and a text without an escape stays.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "alchemi-web", "caf\u00e9 100%", "%41", "%4", "a%2", "%zz%25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := unescapeHeader(url.PathEscape(text)); got != text {
			t.Fatalf("%q comes back as %q", text, got)
		}
		got := unescapeHeader(text)
		if want, err := url.PathUnescape(text); err == nil && got != want {
			t.Fatalf("%q is %q, want %q", text, got, want)
		}
		if !strings.Contains(text, "%") && got != text || len(got) > len(text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
