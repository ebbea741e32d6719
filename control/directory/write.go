package directory

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// MarshalYAML writes either form.
func (a Accounts) MarshalYAML() (any, error) {
	if a.All {
		return "all", nil
	}
	return a.Keys, nil
}

// YAML writes the file as Parse reads it. What is empty is left out.
func (f *File) YAML() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(f, yaml.OmitEmpty(), yaml.OmitZero(), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	return text, nil
}
