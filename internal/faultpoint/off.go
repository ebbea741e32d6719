//go:build !faults

package faultpoint

// Hit does nothing: this program was built without faults.
func Hit(string) {}
