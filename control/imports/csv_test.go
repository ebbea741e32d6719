package imports_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/alchemi/cockpit/control/sheet"
	"pgregory.net/rapid"
)

var columns = []imports.Column{{Name: "key", Required: true}, {Name: "name"}, {Name: "note"}}

// read gives the cells of all lines; a line that is bad is its code alone. err is of the file.
func read(file string) (lines [][]string, numbers []int, err error) {
	r, err := imports.NewReader(strings.NewReader(file), columns)
	if err != nil {
		return nil, nil, err
	}
	for {
		var l imports.Line
		if err := r.Next(&l); errors.Is(err, io.EOF) {
			return lines, numbers, nil
		} else if err != nil {
			return lines, numbers, err
		}
		cells := []string{l.Code}
		if !l.Bad() {
			cells = nil
			for i := range columns {
				if l.Cells[i] == nil {
					cells = append(cells, "absent")
				} else {
					cells = append(cells, l.Cell(i))
				}
			}
		}
		lines, numbers = append(lines, cells), append(numbers, l.Number)
	}
}

func TestFilesAsProgramsWriteThem(t *testing.T) {
	t.Parallel()
	for file, want := range map[string][][]string{
		"key\na\n":                        {{"a", "absent", "absent"}},
		"\xef\xbb\xbfkey,name\r\na,b\r\n": {{"a", "b", "absent"}},
		"name, key\nb,a":                  {{"a", "b", "absent"}},
		"key,name\n007,\n\n\" 8 \",x\n":   {{"007", "", "absent"}, {" 8 ", "x", "absent"}},
		"key,name\n\"a\r\nb\",\"c\nd\"\n": {{"a\r\nb", "c\nd", "absent"}},
		"key,name\n\"a\"\"b\",'=1+1\n":    {{"a\"b", "=1+1", "absent"}},
		"key,name\n=1+1,''=x\n":           {{"=1+1", "'=x", "absent"}},
		"key,name\na\nb,c,d\ne,f\n":       {{"cells"}, {"cells"}, {"e", "f", "absent"}},
		"key\na\x00\n\xff\nb\n":           {{"invalid"}, {"invalid"}, {"b", "absent", "absent"}},
		"key,name,note\n":                 nil,
	} {
		lines, _, err := read(file)
		if err != nil || !slices.EqualFunc(lines, want, slices.Equal[[]string]) {
			t.Errorf("%q: %q, want %q (%v)", file, lines, want, err)
		}
	}
	if _, numbers, _ := read("key,name\n\"a\nb\",c\n\nd,e\n"); !slices.Equal(numbers, []int{2, 5}) {
		t.Errorf("the lines are those of the file: %v", numbers)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                                     "invalid",
		"\xef\xbb\xbf":                         "invalid",
		"name\na\n":                            "header_invalid",
		"key,size\na,b\n":                      "header_invalid",
		"key,key\na,b\n":                       "header_invalid",
		"key;name\na;b\n":                      "header_invalid",
		"\xff\n":                               "header_invalid",
		"key\n\"a\n":                           "not_csv",
		"key\na\"b\n":                          "not_csv",
		"key\n\"a\"b\n":                        "not_csv",
		"key\n\"" + strings.Repeat("a", 2<<20): "not_csv",
		"key\n" + strings.Repeat("a", 2<<20):   "not_csv",
		strings.Repeat("key,", 1<<20):          "not_csv",
	} {
		_, _, err := read(file)
		var p *api.Problem
		if !errors.As(err, &p) || p.Code != want {
			t.Errorf("%.20q: %v, want %s", file, err, want)
		}
	}
}

// write makes a file of lines.
func write(t interface{ Fatal(...any) }, lines [][]string) string {
	var b bytes.Buffer
	w, err := imports.NewWriter(&b, columns)
	for _, l := range lines {
		err = errors.Join(err, w.Line(slices.Clone(l)...))
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Texts as nobody writes them on purpose.
var odd = rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("'=+-@\t\r\n\"\\;, a0ä\u0308😀\ufeff")), 0, 12, -1))

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SliceOfN(odd.Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }), len(columns), len(columns)), 0, 6).Draw(t, "lines")
		file := write(t, lines)
		have, _, err := read(file)
		if err != nil || !slices.EqualFunc(lines, have, slices.Equal[[]string]) {
			t.Fatalf("%q\nis written\n%s\nand read\n%q (%v)", lines, file, have, err)
		}
	})
}

func TestCellsOfSpreadsheets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := odd.Draw(t, "text")
		cell := sheet.Cell(text)
		if sheet.Text(cell) != text {
			t.Fatalf("%q is the cell %q, which is %q", text, cell, sheet.Text(cell))
		}
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Fatalf("%q is a formula", cell)
		}
	})
}

// Whatever comes, it is refused with a problem, or read as encoding/csv reads it, but for line ends in quotes; and what was read
// is read again from what is written of it.
func FuzzRead(f *testing.F) {
	for _, file := range []string{"key\na\n", "\xef\xbb\xbfkey,name\r\n\"a\r\nb\",'=1\r\n", "note,key\n\"\"\"\",x\n\n,y\n", "key\n\"a\n", "key,name\na\n\xff,b\n", "key\n\"a\"\r\n\r\n\r\"", "key\n'''=\n"} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		lines, _, err := read(file)
		if err != nil {
			var p *api.Problem
			if !errors.As(err, &p) || p.Status != 422 || p.Detail == "" {
				t.Fatalf("%q is refused with %v", file, err)
			}
			return
		}
		oracle := csv.NewReader(strings.NewReader(strings.TrimPrefix(file, "\xef\xbb\xbf")))
		oracle.FieldsPerRecord = -1
		records, err := oracle.ReadAll()
		if err != nil || len(records) != len(lines)+1 {
			t.Fatalf("%q: %d lines, and by encoding/csv %d (%v)", file, len(lines), len(records)-1, err)
		}
		var good [][]string
		for i, l := range lines {
			if len(l) != len(columns) {
				continue
			}
			good = append(good, l)
			for j, name := range records[0] {
				at := slices.IndexFunc(columns, func(c imports.Column) bool { return c.Name == strings.TrimSpace(name) })
				if have := strings.ReplaceAll(l[at], "\r\n", "\n"); have != sheet.Text(records[i+1][j]) && l[at] != sheet.Text(records[i+1][j]) {
					t.Fatalf("%q, line %d: %q, and by encoding/csv %q", file, i, l[at], records[i+1][j])
				}
			}
		}
		again, _, err := read(write(t, good))
		if err != nil || !slices.EqualFunc(good, again, slices.Equal[[]string]) {
			t.Fatalf("%q\n%q is read again as %q (%v)", file, good, again, err)
		}
	})
}
