package directory_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
)

// A file that is taken is the same file when it is written and read again, and one that is refused says why.
func FuzzParse(f *testing.F) {
	f.Add(string(deploy.Demo))
	for account := range strings.SplitSeq(string(deploy.Demo), "\n  - key: ") {
		f.Add("version: 1\naccounts:\n  - key: " + account)
	}
	f.Add(`{version: 1, sources: [{key: "all", sections: ["a"], accounts: all, mode: meter}, {key: b, sections: [a], accounts: ["all", "1e3", "null", "~", "a: b", " #"], mode: observe}]}`)
	f.Add(`{version: 1, accounts: [{key: "1", name: "true", time_zone: UTC, users: [{key: "0x1", name: "", email: "2026-01-01"}], sections: {"null": {}, s: {plan: "-", members: [{user: "0x1", override: {amount: "1", reason: "|\n  x"}}]}}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 20_000 || strings.ContainsAny(text, "&*") {
			return // anchors can make a short text an endless one
		}
		file, err := directory.Parse([]byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%q is refused without a word", text)
			}
			return
		}
		written, err := file.YAML()
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		again, err := directory.Parse(written)
		if err != nil {
			t.Fatalf("%q\nis written\n%s\nwhich is refused: %v", text, written, err)
		}
		plain(reflect.ValueOf(file))
		plain(reflect.ValueOf(again))
		if !reflect.DeepEqual(file, again) {
			t.Fatalf("%q\n%+v\nis written\n%s\nand read\n%+v", text, file, written, again)
		}
	})
}

// plain makes empty lists nil and times UTC, everywhere in v.
func plain(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			plain(v.Elem())
		}
	case reflect.Struct:
		if at, ok := v.Addr().Interface().(*time.Time); ok {
			*at = at.UTC()
			return
		}
		for i := range v.NumField() {
			plain(v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 && !v.IsNil() {
			v.SetZero()
		}
		for i := range v.Len() {
			plain(v.Index(i))
		}
	case reflect.Map:
		if v.Len() == 0 && !v.IsNil() {
			v.SetZero()
		}
		for _, key := range v.MapKeys() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(key))
			plain(item)
			v.SetMapIndex(key, item)
		}
	}
}
