// Package traffic makes usage events for demos, tests and benchmarks: the same ones for the same seed.
//
// Nothing here is random but by the seed, so that a run can be repeated, and a repeated run is nothing but duplicates.
package traffic

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
)

// Target is somebody whose usage is made up.
type Target struct {
	Account, Section, Source, User, Team string
	Models                               []string
	Reported                             bool // the event says what it cost
}

// Mix is the share of odd events, in percent.
type Mix struct {
	Duplicates, Invalid, Late int
}

// Event is one made event.
type Event struct {
	Key   string // account/source/id
	Value []byte // a structured CloudEvent
}

// Generator makes events. It is not safe for concurrent use.
type Generator struct {
	rand    *rand.Rand
	seed    uint64
	targets []Target
	mix     Mix
	n       int
}

// New returns a generator over the targets, of which there must be one.
func New(seed uint64, targets []Target, mix Mix) *Generator {
	return &Generator{rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, targets: targets, mix: mix}
}

// Next makes an event that happened at now.
func (g *Generator) Next(now time.Time) (Event, error) {
	id := g.n
	g.n++
	if g.rand.IntN(100) < g.mix.Duplicates && id > 0 {
		id -= 1 + g.rand.IntN(min(id, 100))
	}
	t := g.targets[id%len(g.targets)] // by the id, so that an id that comes again is the same identity
	data := map[string]any{"account": t.Account, "section": t.Section, "user": t.User, "model": t.Models[g.rand.IntN(len(t.Models))],
		"operation": "chat", "status": "ok", "latency_ms": 200 + g.rand.IntN(2000),
		"quantities": map[string]int{events.InputTokens.String(): 200 + g.rand.IntN(4000), events.OutputTokens.String(): 50 + g.rand.IntN(800),
			events.CachedInputTokens.String(): g.rand.IntN(1000), events.Requests.String(): 1}}
	if t.Team != "" {
		data["team"] = t.Team
	}
	if t.Reported {
		data["cost_usd"] = fmt.Sprintf("0.%06d", 100+g.rand.IntN(20_000))
	}
	switch at := g.rand.IntN(100); {
	case at < g.mix.Invalid:
		delete(data, "model")
	case at < g.mix.Invalid+g.mix.Late:
		now = now.Add(-30 * time.Hour)
	}
	e := map[string]any{"specversion": "1.0", "id": fmt.Sprintf("made-%d-%d", g.seed, id), "source": t.Source, "type": events.TypeUsage,
		"time": now.UTC().Format("2006-01-02T15:04:05.000000Z"), "data": data}
	value, err := json.Marshal(e)
	return Event{Key: t.Account + "/" + t.Source + "/" + e["id"].(string), Value: value}, err
}
