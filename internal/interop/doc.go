// Package interop runs cockpit with real programs that nobody here wrote: Apache Kafka, kcat, Kafka's own tools, the
// CloudEvents SDKs, and a LiteLLM proxy (`make interop`, build tag interop). It owns no code of the product.
//
// It installs what it needs into the engines' cache: jars with Maven, a virtual environment of Python, a package of npm.
package interop
