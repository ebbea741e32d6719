package collector

import (
	"net/http"

	"github.com/alchemi/cockpit/ingest/litellm"
	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/gin-gonic/gin"
	"github.com/twmb/franz-go/pkg/kgo"
)

// litellmMax is the size of a callback's batch: 512 items of 12 KB are its default, and what is refused is lost.
const litellmMax = 64 << 20

// litellm takes what LiteLLM's generic_api callback sends, in its three formats. LiteLLM never sends again, so an item
// that can't be taken goes to quarantine, and the others are taken.
func (c *Collector) litellm(g *gin.Context, p Principal, body []byte) {
	if len(p.Sources) != 1 || len(p.Sources[0].Sections) != 1 {
		problem(g, http.StatusForbidden, "ambiguous_key", "LiteLLM sends neither source nor section: use a service key for one source that has one section")
		return
	}
	binding := litellm.Binding{Source: p.Sources[0].Source, Section: p.Sources[0].Sections[0], Account: p.Account}
	r := c.request(p)
	for _, item := range litellm.Read(body, binding) {
		if item.Err == nil {
			r.add(item.Event)
			if last := &r.results[len(r.results)-1]; last.Status == accepted {
				continue
			} else {
				item.Err = &litellm.Error{Detail: last.Reason + ": " + last.Detail}
			}
		} else {
			r.results = append(r.results, Result{Index: len(r.results), Status: rejected, Reason: events.Schema.String(), Detail: item.Err.Error()})
		}
		r.records = append(r.records, quarantine.Record(&kgo.Record{Topic: topics.Usage, Partition: -1, Value: item.Kept},
			quarantine.Rejected{Reason: events.Schema, Detail: "LiteLLM: " + item.Err.Error(), Account: binding.Account}))
	}
	c.answer(g, r)
}
