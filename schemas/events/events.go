package events

// The CloudEvents types that are read.
const (
	TypeUsage     = "cockpit.usage.v1"
	TypeGuardrail = "cockpit.guardrail.v1"
)

// Usage is a usage event. Account, User, Team and Agent are the keys that products know.
type Usage struct {
	ID, Source                          string
	TimeMicros                          int64 // Unix µs
	Account, Section, User, Team, Model string
	Operation, Agent, Tool, Status      string
	Reservation, TraceID                string
	Quantities                          Quantities
	LatencyMS                           int64
	CostUSD                             string // a decimal; empty if absent
	Labels                              string // a JSON object of strings; empty if absent
	Attributes                          string // a JSON object of the fields that are not known; only where asked for
}

// Guardrail is a guardrail event. The text that a rule matched never leaves the product.
type Guardrail struct {
	ID, Source                                 string
	TimeMicros                                 int64 // Unix µs
	Account, Section, User, Team, Agent, Model string
	Guardrail, Rule, Category                  string
	Stage, Action, Outcome, Severity           string
	GuardrailVersion, MatchCount, LatencyMS    int64
	Confidence                                 string // a decimal; empty if absent
	SampleHash, RequestID, TraceID             string
	Attributes                                 string // as in Usage
}
