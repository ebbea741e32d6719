package imports

import "slices"

// Line is a line of a file.
type Line struct {
	Number int       `json:"n"`               // in the file, from 1; the header has the first
	Cells  []*string `json:"cells,omitempty"` // by the places of the kind's columns; nil: the file has no such column
	Verdict
}

// Verdict is what becomes of a line.
type Verdict struct {
	Action string   `json:"action,omitempty"` // create, change or end; empty: what the line says is so already, or it is bad
	Fields []string `json:"fields,omitempty"` // that change
	Column string   `json:"column,omitempty"` // in which a bad line is bad
	Code   string   `json:"code,omitempty"`   // why it is, for programs
	Reason string   `json:"reason,omitempty"` // and for people
}

// Actions of lines.
const (
	Create = "create"
	Change = "change"
	End    = "end"
)

// Bad says whether the line can't be applied.
func (v *Verdict) Bad() bool { return v.Code != "" }

// Fail says why the line is bad. The first reason stays.
func (v *Verdict) Fail(column, code, reason string) {
	if !v.Bad() {
		*v = Verdict{Column: column, Code: code, Reason: reason}
	}
}

// Change says that a field changes, if the line is good.
func (v *Verdict) Change(field string) {
	if v.Bad() {
		return
	}
	if v.Action == "" {
		v.Action = Change
	}
	if !slices.Contains(v.Fields, field) {
		v.Fields = append(v.Fields, field)
	}
}

// Applies says whether there is something to do.
func (v *Verdict) Applies() bool { return !v.Bad() && v.Action != "" }

// Cell is the text of a column, by its place among the kind's; "" where it is absent or empty.
func (l *Line) Cell(i int) string {
	if l.Cells[i] == nil {
		return ""
	}
	return *l.Cells[i]
}
