// Package tidy holds the repository to its written style: a test that reads the tree, with the reason beside each rule.
//
// It owns no code that runs in the product. When a rule here is in the way, change the rule and say why, in one place.
package tidy
