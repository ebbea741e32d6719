package collector

import (
	"bytes"
	"errors"
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
	binding := litellm.Binding{Source: p.Sources[0].Source, Section: p.Sources[0].Sections[0], Account: p.only()}
	r := c.request(p)
	err := litellm.Read(bytes.NewReader(body), litellm.Any, binding, func(_ int, item litellm.Item) error {
		r.addLiteLLM(item, binding.Account)
		return nil
	})
	if err != nil { // what came before is taken all the same, since it is not sent again
		r.results = append(r.results, Result{Index: len(r.results), Status: rejected, Reason: events.TooLarge.String(), Detail: err.Error()})
	}
	c.answer(g, r)
}

// only is the account of a key for one account: of items that name none.
func (p *Principal) only() string {
	if p.AllAccounts || len(p.Accounts) != 1 {
		return ""
	}
	return p.Accounts[0]
}

// addLiteLLM takes an item's event, or sends to quarantine what may be kept of it.
func (r *request) addLiteLLM(item litellm.Item, account string) {
	reason, kept := events.Schema, item.Kept
	var detail string
	var bad *litellm.Error
	if errors.As(item.Err, &bad) {
		reason, detail = bad.Reason, bad.Detail
		r.results = append(r.results, Result{Index: len(r.results), Status: rejected, Reason: reason.String(), Detail: detail})
	} else {
		r.add(item.Event)
		last := &r.results[len(r.results)-1]
		if last.Status == accepted {
			return
		}
		detail, kept = last.Reason+": "+last.Detail, item.Event
	}
	r.records = append(r.records, quarantine.Record(&kgo.Record{Topic: topics.Usage, Partition: -1, Value: kept},
		quarantine.Rejected{Reason: reason, Detail: "LiteLLM: " + detail, Account: account}))
}
