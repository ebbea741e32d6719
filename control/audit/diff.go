package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Diff are the fields in which two objects differ, by the names that the API shows them under; nested ones with dots, lists
// as a whole. nil is an object that is not there. Both must marshal to JSON objects: what the API never shows (secrets) is
// never in the log.
func Diff(before, after any) ([]Change, error) {
	b, err := fields(before)
	if err != nil {
		return nil, err
	}
	a, err := fields(after)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for n := range b {
		names[n] = true
	}
	for n := range a {
		names[n] = true
	}
	changes := []Change{}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Equal(b[n], a[n]) {
			changes = append(changes, Change{Field: n, Before: b[n], After: a[n]})
		}
	}
	return changes, nil
}

func fields(object any) (map[string]json.RawMessage, error) {
	flat := map[string]json.RawMessage{}
	if object == nil {
		return flat, nil
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("record %T: %w", object, err)
	}
	return flat, flatten(flat, "", text)
}

func flatten(into map[string]json.RawMessage, prefix string, text json.RawMessage) error {
	if len(text) == 0 || text[0] != '{' {
		if !bytes.Equal(text, []byte("null")) {
			into[prefix] = text
		}
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	for name, value := range object {
		if prefix != "" {
			name = prefix + "." + name
		}
		if err := flatten(into, name, value); err != nil {
			return err
		}
	}
	return nil
}
