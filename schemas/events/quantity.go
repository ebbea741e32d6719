package events

// Quantity is a thing that usage is counted in.
type Quantity uint8

// The known quantities. Cached and cache-write tokens are counted apart from input tokens, reasoning tokens apart from
// output tokens: they are disjoint, and each is charged at its own price.
const (
	InputTokens Quantity = iota
	OutputTokens
	CachedInputTokens
	CacheWriteTokens
	ReasoningTokens
	AudioSeconds
	Characters
	Images
	Requests
	ToolCalls
	NumQuantities = int(iota)
)

var quantityNames = [NumQuantities]string{
	"input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens",
	"audio_seconds", "characters", "images", "requests", "tool_calls",
}

// String is the name in events, price lists and ClickHouse.
func (q Quantity) String() string {
	if int(q) < NumQuantities {
		return quantityNames[q]
	}
	return ""
}

// ParseQuantity returns the quantity of that name; false if there is none.
func ParseQuantity(name string) (Quantity, bool) {
	for i, n := range quantityNames {
		if n == name {
			return Quantity(i), true
		}
	}
	return 0, false
}

// Quantities are an event's counts, each from 0 to 2⁵³.
type Quantities struct {
	N       [NumQuantities]int64
	Present uint16 // bit i: quantity i was given
}

// Set gives quantity q the count n.
func (s *Quantities) Set(q Quantity, n int64) {
	s.N[q] = n
	s.Present |= 1 << q
}
