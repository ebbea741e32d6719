package imports

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/sheet"
)

const (
	lineBytesMax = 1 << 20
	// LinesMax is how many lines a file has at most, below its header.
	LinesMax = 1_000_000
)

// Column is a column of a kind of files.
type Column struct {
	Name     string
	Required bool
}

// Reader reads the lines of a file.
type Reader struct {
	csv     *csv.Reader
	columns []Column
	places  []int // of each column among the file's; -1: it is absent
	width   int
	lines   int
}

// NewReader reads the header. What is no file of these columns is a problem: not_csv, or header_invalid with all that is wrong.
func NewReader(file io.Reader, columns []Column) (*Reader, error) {
	text := bufio.NewReader(file)
	if mark, err := text.Peek(len(byteOrderMark)); err == nil && bytes.Equal(mark, byteOrderMark) {
		_, _ = text.Discard(len(byteOrderMark)) // what was peeked is there
	}
	r := &Reader{csv: csv.NewReader(&plain{file: text}), columns: columns}
	r.csv.FieldsPerRecord = -1
	names, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, api.Invalid("body", "the file is empty: its first line names its columns, which may be "+known(columns))
	}
	if err != nil {
		return nil, notCSV(err)
	}
	return r, r.header(names)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// header finds out where which column is.
func (r *Reader) header(names []string) error {
	r.width, r.places = len(names), make([]int, len(r.columns))
	var wrong []string
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
		if !slices.ContainsFunc(r.columns, func(c Column) bool { return c.Name == names[i] }) {
			wrong = append(wrong, fmt.Sprintf("there is no column %q", names[i]))
		} else if slices.Index(names[:i], names[i]) >= 0 {
			wrong = append(wrong, "the column "+names[i]+" is there twice")
		}
	}
	for i, c := range r.columns {
		if r.places[i] = slices.Index(names, c.Name); r.places[i] < 0 && c.Required {
			wrong = append(wrong, "the column "+c.Name+" is missing")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	p := api.NewProblem(http.StatusUnprocessableEntity, "header_invalid", "The first line names the columns, which may be "+known(r.columns)+": "+wrong[0]+".")
	for _, message := range wrong[:min(len(wrong), wrongMax)] {
		p.Errors = append(p.Errors, api.FieldError{Field: "body", Code: api.CodeInvalid, Message: strings.ToValidUTF8(message, "�")})
	}
	p.Detail = strings.ToValidUTF8(p.Detail, "�")
	return p
}

// wrongMax is how many mistakes of a header are told at once.
const wrongMax = 20

func known(columns []Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// Next reads the next line into l, or gives io.EOF behind the last. A line whose cells can't be taken is given with the reason.
func (r *Reader) Next(l *Line) error {
	record, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return notCSV(err)
	}
	if r.lines++; r.lines > LinesMax {
		return api.NewProblem(http.StatusUnprocessableEntity, "too_many_lines", fmt.Sprintf("A file has at most %d lines.", LinesMax))
	}
	number, _ := r.csv.FieldPos(0)
	*l = Line{Number: number, Cells: make([]*string, len(r.columns))}
	if len(record) != r.width {
		l.Fail("", "cells", fmt.Sprintf("the line has %d cells, and the header %d", len(record), r.width))
		return nil
	}
	for i, c := range r.columns {
		if r.places[i] < 0 {
			continue
		}
		text := record[r.places[i]]
		switch {
		case !utf8.ValidString(text):
			l.Fail(c.Name, api.CodeInvalid, "the text is not in UTF-8")
		case strings.ContainsRune(text, 0):
			l.Fail(c.Name, api.CodeInvalid, "the text has a character of number zero")
		}
		text = sheet.Text(text)
		l.Cells[i] = &text
	}
	if l.Code != "" {
		l.Cells = nil
	}
	return nil
}

// notCSV is the problem of a file that can't be taken apart into lines: what is behind the place can't be trusted.
func notCSV(err error) error {
	p := api.NewProblem(http.StatusUnprocessableEntity, "not_csv", "")
	var parse *csv.ParseError
	var long lineTooLong
	switch {
	case errors.As(err, &long):
		p.Detail = fmt.Sprintf("Line %d is longer than %d KiB, or a quoted cell in it does not end.", int(long), lineBytesMax>>10)
	case errors.As(err, &parse):
		p.Detail = fmt.Sprintf("Line %d, byte %d: %v.", parse.Line, parse.Column, parse.Err)
	default:
		return err
	}
	return p
}

// plain gives the bytes of a file so that encoding/csv, which takes the \r from each \r\n, leaves the one in a quoted cell. It ends
// with lineTooLong where a line is too long to be kept in memory.
type plain struct {
	file     *bufio.Reader
	quoted   bool
	held     bool // a \n that comes next
	previous byte
	line     int // that ended
	began    int // the line on which the record began
	size     int // of the record
}

type lineTooLong int

func (l lineTooLong) Error() string { return fmt.Sprintf("line %d is too long", int(l)) }

// Read implements io.Reader.
func (p *plain) Read(b []byte) (n int, err error) {
	for n < len(b) {
		c, err := p.next()
		if err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				return n, nil
			}
			return n, err
		}
		b[n] = c
		n++
	}
	return n, nil
}

func (p *plain) next() (byte, error) {
	if p.held {
		p.held = false
		return '\n', nil
	}
	c, err := p.file.ReadByte()
	if err != nil {
		return 0, err
	}
	if p.size++; p.size > lineBytesMax {
		return 0, lineTooLong(p.began + 1)
	}
	again := c == '\n' && p.quoted && p.previous == '\r'
	switch c {
	case '"':
		p.quoted = !p.quoted
	case '\n':
		if p.line++; !p.quoted {
			p.size, p.began = 0, p.line
		}
	}
	if p.previous = c; again {
		p.held = true
		return '\r', nil
	}
	return c, nil
}

// Writer writes a file that a Reader reads.
type Writer struct{ csv *csv.Writer }

// NewWriter writes the header.
func NewWriter(w io.Writer, columns []Column) (*Writer, error) {
	to := &Writer{csv.NewWriter(w)}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return to, to.csv.Write(names)
}

// Line writes a line. It keeps nothing of cells.
func (w *Writer) Line(cells ...string) error {
	for i := range cells {
		cells[i] = sheet.Cell(cells[i])
	}
	return w.csv.Write(cells)
}

// Flush writes what is held back.
func (w *Writer) Flush() error {
	w.csv.Flush()
	return w.csv.Error()
}
