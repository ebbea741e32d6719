// Package deploy holds what the program ships with: the demo directory, and, beside it, files for operators.
package deploy

import _ "embed" // for the demo

// Demo is the directory of `cockpit dev --demo`, as `cockpit apply` reads it.
//
//go:embed demo.yaml
var Demo []byte
