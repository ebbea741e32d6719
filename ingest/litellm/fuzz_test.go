package litellm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/litellm"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Every item is an event or an error, in each format; where reads are cut makes no difference; what JSON says is an array
// has as many items; and an item is the same event in an array, alone, and on a line.
func FuzzRead(f *testing.F) {
	f.Add([]byte(call))
	f.Add([]byte("[" + call + ",{}]"))
	f.Add([]byte(line + "\n" + line[:200] + "\n7"))
	f.Add([]byte(`[{"a":]},{"a":[1},"\"]",{"id":1,"endTime":1e9,"response_cost":-0e-5}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, format := range []string{litellm.Any, litellm.JSONArray, litellm.NDJSON, litellm.Single} {
			items, err := readAll(bytes.NewReader(body), format)
			if err != nil && len(items) < litellm.ItemsMax {
				t.Fatal(err)
			}
			for _, it := range items {
				if (it.Err == nil) != json.Valid(it.Event) || (it.Err != nil) != json.Valid(it.Kept) {
					t.Fatalf("%s %s %v", it.Event, it.Kept, it.Err)
				}
			}
			cut, _ := readAll(iotest.OneByteReader(bytes.NewReader(body)), format)
			if fmt.Sprint(cut) != fmt.Sprint(items) {
				t.Fatalf("%v, byte by byte %v", items, cut)
			}
		}
		var whole []json.RawMessage
		if json.Unmarshal(body, &whole) != nil || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
			return
		}
		sameInEveryFormat(t, body, whole)
	})
}

// sameInEveryFormat reads the items of an array in every form in which they can be sent.
func sameInEveryFormat(t *testing.T, body []byte, whole []json.RawMessage) {
	t.Helper()
	array := read(t, string(body), litellm.JSONArray)
	if len(array) != len(whole) {
		t.Fatalf("%q: %d items of %d", body, len(array), len(whole))
	}
	var lines bytes.Buffer
	for i, raw := range whole {
		if err := json.Compact(&lines, raw); err != nil {
			t.Fatal(err)
		}
		lines.WriteByte('\n')
		if c := raw[0]; c != '{' {
			continue // alone, it could be an array of items
		}
		if alone := read(t, string(raw), litellm.Single); len(alone) != 1 || !sameItem(alone[0], array[i]) {
			t.Fatalf("%q: alone %v, in the array %v", raw, alone, array[i])
		}
	}
	byLine := read(t, lines.String(), litellm.NDJSON)
	if len(byLine) != len(whole) {
		t.Fatalf("%q: %d lines of %d", body, len(byLine), len(whole))
	}
	for i := range byLine {
		if !sameItem(byLine[i], array[i]) {
			t.Fatalf("%q: on a line %v, in the array %v", whole[i], byLine[i], array[i])
		}
	}
}

func sameItem(a, b litellm.Item) bool {
	return bytes.Equal(a.Event, b.Event) && bytes.Equal(a.Kept, b.Kept) && (a.Err == nil) == (b.Err == nil)
}

var plain = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// Money, tokens and times are the exact numbers that stand there, whatever way they are written.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"0", "0.00022500000000000002", "2.25e-4", "0.0000000000005", "0.0000000000015", "1e20", "1e21", "-0", "-1", "9007199254740993", "1763884800.5001234", "1E+3", "253402300800"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !plain.MatchString(text) || len(text) > 64 {
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		item := func(cost, prompt, end string) (u events.Usage, err error) {
			items := read(t, `{"id":"1","model":"m","endTime":`+end+`,"end_user":"u","prompt_tokens":`+prompt+`,"response_cost":`+cost+`}`, litellm.Any)
			if len(items) != 1 || items[0].Err != nil {
				return u, items[0].Err
			}
			var d decode.Decoder
			if r := d.Usage(&kgo.Record{Value: items[0].Event}, &u); r != nil {
				return u, r
			}
			u.CostUSD = strings.Clone(u.CostUSD)
			return u, nil
		}
		checkCost(t, text, exact, item)
		u, err := item("1", text, "1763884800")
		limit := new(big.Rat).SetInt64(1 << 53)
		if tokens := new(big.Int).Quo(exact.Num(), exact.Denom()); exact.Sign() < 0 || exponent(text) > 20 || tokens.Sign() == 0 {
			if err != nil || u.Quantities.N[events.InputTokens] != 0 {
				t.Fatalf("%s tokens: %v %v", text, u.Quantities, err)
			}
		} else if fits := exact.Cmp(limit) <= 0; fits != (err == nil) || fits && u.Quantities.N[events.InputTokens] != tokens.Int64() {
			t.Fatalf("%s tokens: %v %v", text, u.Quantities, err)
		}
	})
}

// exponent is the power of ten of a number's last digit.
func exponent(text string) (n int) {
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	_, _ = fmt.Sscanf(power, "%d", &n)
	return n - len(fraction)
}

func checkCost(t *testing.T, text string, exact *big.Rat, item func(cost, prompt, end string) (events.Usage, error)) {
	t.Helper()
	u, err := item(text, "1", "1763884800")
	if exact.Sign() < 0 || exponent(text) > 20 || exponent(text) < -1000 {
		if err == nil {
			t.Fatalf("a cost of %s was taken: %q", text, u.CostUSD)
		}
		return
	}
	// Half to even, at 12 places.
	scaled := new(big.Rat).Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(12), nil)))
	whole, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	if c := rest.Lsh(rest, 1).Cmp(scaled.Denom()); c > 0 || c == 0 && whole.Bit(0) == 1 {
		whole.Add(whole, big.NewInt(1))
	}
	want := new(big.Rat).SetFrac(whole, new(big.Int).Exp(big.NewInt(10), big.NewInt(12), nil)).FloatString(12)
	if len(want) > 32 {
		if err == nil {
			t.Fatalf("a cost of %s was taken: %q", text, u.CostUSD)
		}
		return
	}
	if err != nil || u.CostUSD != want {
		t.Fatalf("a cost of %s: %q, want %s: %v", text, u.CostUSD, want, err)
	}
}

// A name that LiteLLM knows reaches the event as it stands, and one that can't be an event's is refused by its schema.
func FuzzTexts(f *testing.F) {
	f.Add("chatcmpl-8f", "acme", "gpt-4o", "customer-7")
	f.Add(strings.Repeat("x", 200), "é", "a\"b", "\u2028")
	f.Fuzz(func(t *testing.T, id, account, model, user string) {
		for _, s := range []string{id, account, model, user} {
			if !utf8.ValidString(s) || s == "" || len(s) > 300 {
				return
			}
		}
		text, err := json.Marshal(map[string]any{"id": id, "model_group": model, "end_user": user, "endTime": 1763884800, "response_cost": 1,
			"metadata": map[string]any{"user_api_key_org_id": account}})
		if err != nil {
			t.Fatal(err)
		}
		items := read(t, string(text), litellm.Any)
		if len(items) != 1 || items[0].Err != nil {
			t.Fatalf("%s: %v", text, items)
		}
		var d decode.Decoder
		var u events.Usage
		if r := d.Usage(&kgo.Record{Value: items[0].Event}, &u); r != nil {
			if r.Reason != events.Schema {
				t.Fatalf("%s: %v", items[0].Event, r)
			}
			return
		}
		if (len(id) <= 128) != (u.ID == id) || u.Account != account || u.Model != model || u.User != user || len(u.ID) > 128 {
			t.Fatalf("%s: %+v", text, u)
		}
	})
}
