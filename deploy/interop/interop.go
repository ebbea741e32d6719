// Package interop pins the real programs that `make interop` runs cockpit with: Apache Kafka and its tools, LiteLLM, and
// the CloudEvents SDKs for Python and JavaScript.
package interop

import "embed"

// Files are what the package managers read, and the small programs that use the SDKs.
//
//go:embed pom.xml requirements.txt package.json send.py send.mjs librdkafka.py
var Files embed.FS
