package control

import (
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/danielgtaylor/huma/v2"
)

// describeEvents puts what ingest/collector serves into the document: it streams bodies and answers for each event.
func describeEvents(a *api.API) {
	errs := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	event := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "a CloudEvent 1.0 with data as schemas/events/usage.v1.schema.json or guardrail.v1.schema.json has it",
		Required: []string{"specversion", "id", "source", "type", "time", "data"}, Properties: map[string]*huma.Schema{"specversion": {Type: huma.TypeString, Enum: []any{"1.0"}},
			"id": {Type: huma.TypeString}, "source": {Type: huma.TypeString}, "type": {Type: huma.TypeString, Enum: []any{"cockpit.usage.v1", "cockpit.guardrail.v1"}},
			"time": {Type: huma.TypeString, Format: "date-time"}, "data": {Type: huma.TypeObject, AdditionalProperties: true}}}
	many := &huma.Schema{Type: huma.TypeArray, Items: event}
	api.Describe[collector.Answer](a, api.Operation{Method: http.MethodPost, Path: "/v1/events", ID: "sendEvents", Tag: "Events", Summary: "Send usage and guardrail events", Permission: access.EventsWrite,
		Description: "With a service key. 202 comes when Kafka has acknowledged all that were accepted, with a result for each event; one that is bad does not hold back the others, and 400 says that none was taken. " +
			"A single event, a batch or array of at most 1,000, or an event in binary mode with ce- headers; 5 MiB at most.",
		Status: http.StatusAccepted, Errors: errs, Examples: []api.Example{{As: "product", Path: "/v1/events", Header: map[string]string{"Content-Type": "application/cloudevents+json"},
			Body: `{"specversion":"1.0","id":"my-first","source":"alchemi-web","type":"cockpit.usage.v1","time":"2026-11-25T08:00:00Z","data":{"account":"acme","section":"copilot","user":"u-42","model":"gpt-5","quantities":{"input_tokens":1200}}}`}}},
		huma.Operation{RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/cloudevents+json": {Schema: event},
			"application/cloudevents-batch+json": {Schema: many}, "application/json": {Schema: many}}}})
	api.Describe[collector.Answer](a, api.Operation{Method: http.MethodPost, Path: "/v1/events/litellm", ID: "sendLiteLLM", Tag: "Events", Summary: "Send what LiteLLM's generic_api callback sends", Permission: access.EventsWrite,
		Description: "With a service key for one source that has one section. As json_array, ndjson or single; 64 MiB at most. It never sends again, so a bad item goes to quarantine and the others are taken.",
		Status:      http.StatusAccepted, Errors: append(errs, http.StatusForbidden), Examples: []api.Example{{As: "product", Path: "/v1/events/litellm", Body: `[]`}}},
		huma.Operation{RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "StandardLoggingPayload"}}}}}})
}
