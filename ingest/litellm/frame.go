package litellm

import (
	"bufio"
	"bytes"
)

// depthMax is how deep encoding/json goes.
const depthMax = 10_000

type mode uint8

const (
	values mode = iota // one after another; a broken one ends with its line
	array              // inside [ ], parted by commas
	lines              // one a line
)

// frames finds where items begin and end, without knowing whether they are JSON. Brackets that do not match close what they
// can, so that a broken item ends where it would have ended whole.
type frames struct {
	r    *bufio.Reader
	mode mode
	item []byte // the item's first ItemBytesMax bytes, until the next call
	size int64  // all its bytes
	err  error  // why there is no more

	open             []byte // brackets
	curly, square    int    // of them
	quoted, escaped  bool
	lost             bool // too deep to follow: all the rest is this item
	object, finished bool // values: it began with {; and is whole
}

// next finds the next item; false when there is none, with err saying why.
func (f *frames) next() bool {
	for f.err == nil {
		f.item, f.size, f.open, f.curly, f.square = f.item[:0], 0, f.open[:0], 0, 0
		f.quoted, f.escaped, f.lost, f.object, f.finished = false, false, false, false, false
		f.scan()
		f.item = bytes.TrimRight(f.item, " \t\r\n")
		if len(f.item) > 0 {
			return true
		}
	}
	return false
}

// scan reads up to the end of an item, which may be empty.
func (f *frames) scan() {
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			f.err = err
			return
		}
		if f.mode == lines && c == '\n' {
			return
		}
		if f.size == 0 && (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			continue
		}
		if f.mode != lines && !f.lost && f.ends(c) {
			return
		}
		f.size++
		if f.size <= ItemBytesMax {
			f.item = append(f.item, c)
		}
		if f.finished {
			f.afterValue()
			return
		}
	}
}

// ends says whether the item ends before c, which then belongs to none.
func (f *frames) ends(c byte) bool {
	first := f.size == 0
	switch {
	case f.mode == values && first && c == '[':
		f.mode = array
		return true
	case f.mode == array && len(f.open) == 0 && !f.quoted && c == ']':
		f.mode = values
		return true
	case f.mode == array && len(f.open) == 0 && !f.quoted && c == ',':
		return true
	case f.mode == values && c == '\n' && (f.quoted || !f.object):
		return true
	}
	f.object = f.object || first && c == '{'
	f.follow(c)
	f.finished = f.mode == values && f.object && len(f.open) == 0
	return false
}

// follow keeps account of strings and brackets.
func (f *frames) follow(c byte) {
	switch {
	case f.escaped:
		f.escaped = false
	case f.quoted && c == '\\':
		f.escaped = true
	case c == '"':
		f.quoted = !f.quoted
	case c == '\n': // no string goes over a line's end
		f.quoted = false
	case f.quoted:
	case c == '{' || c == '[':
		f.open = append(f.open, c)
		f.count(c, 1)
		f.lost = len(f.open) > depthMax
	case c == '}' && f.curly > 0:
		f.closeTo('{')
	case c == ']' && f.square > 0:
		f.closeTo('[')
	}
}

func (f *frames) closeTo(bracket byte) {
	for {
		last := f.open[len(f.open)-1]
		f.open = f.open[:len(f.open)-1]
		f.count(last, -1)
		if last == bracket {
			return
		}
	}
}

func (f *frames) count(bracket byte, n int) {
	if bracket == '{' {
		f.curly += n
	} else {
		f.square += n
	}
}

// afterValue: a value that is alone on its line is followed by lines, where a broken one can't swallow the next.
func (f *frames) afterValue() {
	rest, _ := f.r.Peek(2)
	rest = bytes.TrimPrefix(rest, []byte("\r"))
	if bytes.HasPrefix(rest, []byte("\n")) && !bytes.Contains(f.item, []byte("\n")) {
		f.mode = lines
	}
}
