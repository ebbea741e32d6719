package collector

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// An answer is written as encoding/json writes it.
func TestAnswersAreAsMarshalled(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,20}`), rapid.StringMatching("[\x00-\x7f\u2028é]{0,5}"))
	rapid.Check(t, func(t *rapid.T) {
		a := Answer{Accepted: rapid.Int().Draw(t, "accepted"), Rejected: rapid.Int().Draw(t, "rejected"), Results: []Result{}}
		for range rapid.IntRange(0, 3).Draw(t, "results") {
			a.Results = append(a.Results, Result{Index: rapid.Int().Draw(t, "index"), Status: text.Draw(t, "status"), ID: text.Draw(t, "id"),
				Reason: text.Draw(t, "reason"), Detail: text.Draw(t, "detail")})
		}
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendAnswer(nil, &a)); got != string(want) {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

// What an event says about guardrails in a text does not make it one.
func TestATypeInATextIsNoType(t *testing.T) {
	t.Parallel()
	const event = `{"specversion":"1.0","id":"1","source":"web","type":"cockpit.usage.v1","time":"2026-11-23T08:00:00Z","data":{"account":"acme",` +
		`"section":"copilot","user":"u","model":"gpt-5","quantities":{"requests":1},"labels":{"about":"cockpit.guardrail.v1"}}}`
	r := New(Config{}).request(Principal{AllAccounts: true, Sources: []Grant{{Source: "web", Sections: []string{"copilot"}, AllAccounts: true}}})
	r.add([]byte(event))
	if len(r.records) != 1 || r.results[0].Status != accepted {
		t.Errorf("%+v", r.results)
	}
}
