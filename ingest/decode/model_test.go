package decode_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alchemi/cockpit/schemas/events"
	"golang.org/x/text/unicode/norm"
)

// The model reads events as the contract is read aloud: a tree by encoding/json, and then one rule after the other. It
// shares no line with the decoder.

// field is one field of a JSON object; objects keep order and repetitions.
type field struct {
	name  string
	value any
}

type object []field

// parse makes a tree of JSON text; false when the text is refused whatever it means.
func parse(text []byte) (any, bool) {
	if !utf8.Valid(text) || !json.Valid(text) || loneSurrogate(text) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return subtree(dec, 0)
}

func subtree(dec *json.Decoder, depth int) (any, bool) {
	token, err := dec.Token()
	if err != nil {
		panic(err) // it is valid
	}
	begin, nested := token.(json.Delim)
	if !nested {
		return token, true
	}
	if depth++; depth > 64 {
		return nil, false
	}
	fields, values := object{}, []any{}
	for dec.More() {
		f := field{}
		if begin == '{' {
			name, _ := dec.Token()
			f.name = name.(string)
		}
		var ok bool
		if f.value, ok = subtree(dec, depth); !ok {
			return nil, false
		}
		fields, values = append(fields, f), append(values, f.value)
	}
	_, _ = dec.Token()
	if begin == '{' {
		return fields, true
	}
	return values, true
}

// loneSurrogate says whether valid JSON escapes half of a character.
func loneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; text[i] != 'u' {
			continue
		}
		high := strings.ToLower(string(text[i+1 : i+3]))
		i += 4
		if high < "d8" || high > "df" {
			continue
		}
		if high > "db" || i+6 >= len(text) || string(text[i+1:i+3]) != `\u` {
			return true
		}
		if low := strings.ToLower(string(text[i+3 : i+5])); low < "dc" || low > "df" {
			return true
		}
		i += 6
	}
	return false
}

// reading is one pass of the model over an event.
type reading struct {
	malformed, wrong bool
	rest             object // fields that are not known
}

func (r *reading) reason() events.Reason {
	switch {
	case r.malformed:
		return events.Malformed
	case r.wrong:
		return events.Schema
	}
	return 0
}

// fields takes an object apart: known fields by name, each at most once.
func (r *reading) fields(o object, known ...string) map[string]any {
	out := map[string]any{}
	for _, f := range o {
		if !slices.Contains(known, f.name) {
			r.rest = append(r.rest, f)
			continue
		}
		_, twice := out[f.name]
		r.malformed = r.malformed || twice
		out[f.name] = f.value
	}
	return out
}

func (r *reading) text(v any, bytesMax int) string {
	s, isText := v.(string)
	r.wrong = r.wrong || v != nil && !isText || len(s) > bytesMax || !norm.NFC.IsNormalString(s) || strings.Contains(s, "\x00")
	return s
}

func (r *reading) integer(v any) (int64, bool) {
	if v == nil {
		return 0, false
	}
	n, isNumber := v.(json.Number)
	i, err := strconv.ParseUint(n.String(), 10, 64)
	r.wrong = r.wrong || !isNumber || err != nil || i > 1<<53
	return int64(i), true
}

func (r *reading) milliseconds(v any) int64 {
	if v == nil {
		return 0
	}
	n, isNumber := v.(json.Number)
	f, err := strconv.ParseFloat(n.String(), 64)
	r.wrong = r.wrong || !isNumber || err != nil || strings.HasPrefix(n.String(), "-") || f > 1<<53
	return int64(f)
}

var decimals = regexp.MustCompile(`^[0-9]+(\.[0-9]{1,12})?$`)

func (r *reading) decimal(v any) string {
	s := r.text(v, 32)
	r.wrong = r.wrong || s != "" && !decimals.MatchString(s)
	return s
}

// envelope reads the context attributes and returns the data.
func (r *reading) envelope(text []byte, kind string, id, source *string, micros *int64) object {
	tree, ok := parse(text)
	whole, isObject := tree.(object)
	if r.malformed = !ok || !isObject; r.malformed {
		return nil
	}
	f := r.fields(whole, "specversion", "id", "source", "type", "time", "datacontenttype", "data")
	*id, *source = r.text(f["id"], 128), r.text(f["source"], 128)
	media := r.text(f["datacontenttype"], 256)
	at, ok := instant(r.text(f["time"], 256))
	*micros = at
	data, isObject := f["data"].(object)
	r.wrong = r.wrong || f["specversion"] != "1.0" || f["type"] != kind || *id == "" || *source == "" || !ok || !isObject ||
		media != "" && media != "application/json" && !strings.HasSuffix(media, "+json")
	return data
}

var times = regexp.MustCompile(`^[0-9-]{10}[Tt][0-9:]{8}(\.[0-9]{1,30})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// instant is encoding/json's reading of RFC 3339. It wants capital letters, and takes a comma and an offset of 24 hours.
func instant(s string) (micros int64, ok bool) {
	var t time.Time
	if !times.MatchString(s) || t.UnmarshalText([]byte(strings.ToUpper(s))) != nil {
		return 0, false
	}
	return t.UnixMicro(), true
}

func modelUsage(text []byte) (u events.Usage, r reading) {
	data := r.envelope(text, events.TypeUsage, &u.ID, &u.Source, &u.TimeMicros)
	texts := map[string]*string{"account": &u.Account, "section": &u.Section, "user": &u.User, "team": &u.Team, "model": &u.Model,
		"operation": &u.Operation, "agent": &u.Agent, "tool": &u.Tool, "status": &u.Status, "reservation": &u.Reservation, "trace_id": &u.TraceID}
	names := []string{"quantities", "latency_ms", "cost_usd", "labels"}
	for name := range texts {
		names = append(names, name)
	}
	f := r.fields(data, names...)
	for name, at := range texts {
		*at = r.text(f[name], 256)
	}
	u.LatencyMS, u.CostUSD = r.milliseconds(f["latency_ms"]), r.decimal(f["cost_usd"])
	r.quantities(f["quantities"], &u.Quantities)
	labels, isObject := f["labels"].(object)
	r.wrong = r.wrong || f["labels"] != nil && !isObject
	for _, l := range labels {
		_, isText := l.value.(string)
		r.wrong = r.wrong || !isText
	}
	r.wrong = r.wrong || u.Account == "" || u.Section == "" || u.User+u.Team == "" || u.Model == "" || u.Quantities.Present == 0
	return u, r
}

func (r *reading) quantities(v any, q *events.Quantities) {
	counts, isObject := v.(object)
	r.wrong = r.wrong || v != nil && !isObject
	for _, c := range counts {
		i, known := events.ParseQuantity(c.name)
		n, given := r.integer(c.value)
		again := slices.ContainsFunc(counts, func(o field) bool { return o.name == c.name && !reflect.DeepEqual(o, c) })
		same := len(slices.DeleteFunc(slices.Clone(counts), func(o field) bool { return o.name != c.name })) > 1
		r.malformed = r.malformed || known && (again || same)
		if known && given {
			q.Set(i, n)
		}
	}
}

func modelGuardrail(text []byte) (g events.Guardrail, r reading) {
	data := r.envelope(text, events.TypeGuardrail, &g.ID, &g.Source, &g.TimeMicros)
	texts := map[string]*string{"account": &g.Account, "section": &g.Section, "user": &g.User, "team": &g.Team, "agent": &g.Agent, "model": &g.Model,
		"guardrail": &g.Guardrail, "rule": &g.Rule, "category": &g.Category, "stage": &g.Stage, "action": &g.Action, "outcome": &g.Outcome,
		"severity": &g.Severity, "sample_hash": &g.SampleHash, "request_id": &g.RequestID, "trace_id": &g.TraceID}
	names := []string{"guardrail_version", "match_count", "latency_ms", "confidence"}
	for name := range texts {
		names = append(names, name)
	}
	f := r.fields(data, names...)
	for name, at := range texts {
		*at = r.text(f[name], 256)
	}
	g.GuardrailVersion, _ = r.integer(f["guardrail_version"])
	g.MatchCount, _ = r.integer(f["match_count"])
	g.LatencyMS = r.milliseconds(f["latency_ms"])
	if v := f["confidence"]; v != nil {
		n, isNumber := v.(json.Number)
		c, err := strconv.ParseFloat(n.String(), 64)
		r.wrong = r.wrong || !isNumber || err != nil || c < 0 || c > 1
		g.Confidence = n.String()
	}
	r.guardrailWords(&g)
	return g, r
}

func (r *reading) guardrailWords(g *events.Guardrail) {
	r.wrong = r.wrong || g.Account == "" || g.Section == "" || g.Guardrail == "" ||
		!slices.Contains([]string{"input", "output", "tool_call", "tool_result"}, g.Stage) ||
		!slices.Contains([]string{"blocked", "masked", "flagged", "allowed"}, g.Action) ||
		!slices.Contains([]string{"", "passed", "intervened", "error_open", "error_closed"}, g.Outcome) ||
		!slices.Contains([]string{"", "low", "medium", "high", "critical"}, g.Severity)
}

// keeps compares attributes with the fields that are not known. The model reads the envelope before the data, so that the order
// is its own.
func (r *reading) keeps(attributes string) error {
	if attributes == "" && len(r.rest) == 0 {
		return nil
	}
	tree, ok := parse([]byte(attributes))
	got, isObject := tree.(object)
	byText := func(a, b field) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	slices.SortFunc(got, byText)
	slices.SortFunc(r.rest, byText)
	if !ok || !isObject || !reflect.DeepEqual(got, r.rest) {
		return fmt.Errorf("attributes %s, want %v", attributes, r.rest)
	}
	return nil
}
