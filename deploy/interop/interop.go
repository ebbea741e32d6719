// Package interop pins the real programs that `make interop` runs cockpit with: Apache Kafka and its tools, LiteLLM, and
// the CloudEvents SDKs for Python and JavaScript, oidc-provider, and Chromium (from npm, so that nobody needs to be root).
package interop

import "embed"

// Files are what the package managers read, and the small programs that use the SDKs.
//
//go:embed pom.xml requirements.txt package.json send.py send.mjs librdkafka.py oidc.mjs browse.mjs client.mjs invite.mjs
var Files embed.FS
