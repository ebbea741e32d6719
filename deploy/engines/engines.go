// Package engines pins the npm packages that hold the embedded engines: Postgres and libchdb (ClickHouse).
//
// The lock file names versions and hashes, and no registry: npm uses the one that it is configured with.
package engines

import "embed"

// Files are package.json and package-lock.json, for npm ci.
//
//go:embed package.json package-lock.json
var Files embed.FS
