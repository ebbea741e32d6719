package collector

import (
	"encoding/json"
	"strconv"
)

// appendAnswer appends what json.Marshal makes of the answer. A request has up to a thousand results, which nearly always are
// an index, a word and an id of plain characters.
func appendAnswer(b []byte, a *Answer) []byte {
	b = append(b, `{"accepted":`...)
	b = strconv.AppendInt(b, int64(a.Accepted), 10)
	b = append(b, `,"rejected":`...)
	b = strconv.AppendInt(b, int64(a.Rejected), 10)
	b = append(b, `,"results":[`...)
	for i := range a.Results {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.Results[i].appendTo(b)
	}
	return append(b, "]}"...)
}

func (r *Result) appendTo(b []byte) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(r.Index), 10)
	b = append(b, `,"status":`...)
	b = appendString(b, r.Status)
	for _, f := range [...]struct{ name, value string }{{`,"id":`, r.ID}, {`,"reason":`, r.Reason}, {`,"detail":`, r.Detail}} {
		if f.value != "" {
			b = append(b, f.name...)
			b = appendString(b, f.value)
		}
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("BUG: a string that is no JSON: " + err.Error())
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
