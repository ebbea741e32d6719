package decode

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// depthMax is how deep values may nest.
const depthMax = 64

// scanner reads JSON text (RFC 8259) that is known to be valid UTF-8. After an error, bad says what is wrong and every
// method does nothing.
type scanner struct {
	b       []byte
	i       int
	depth   int
	plain   bool // all of b is printable ASCII without a backslash, so that a string ends at its next quote
	bad     string
	scratch []byte // of strings that had escapes; never grows during one text, so that they stay valid
}

func (s *scanner) reset(b []byte) {
	s.b, s.i, s.depth, s.bad, s.plain = b, 0, 0, "", isPlain(b)
	s.scratch = s.scratch[:0]
}

// Eight bytes at a time: a word with the same byte in each place, and the top bits.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// zeros has the top bit of every byte of w set that is zero; bytes above the lowest of them may be set wrongly.
func zeros(w uint64) uint64 { return (w - ones) &^ w & tops }

// isPlain says whether every byte is printable ASCII and no backslash.
func isPlain(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		control := (w - ' '*ones) &^ w
		if (w|control|zeros(w^'\\'*ones))&tops != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < ' ' || c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

func (s *scanner) fail(why string) {
	if s.bad == "" {
		s.bad = why
		s.i = len(s.b)
	}
}

// peek is the next byte that is no white space, without passing it; 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	return s.peekSpace()
}

func (s *scanner) peekSpace() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// enter passes the opening of an object or array.
func (s *scanner) enter(open byte) bool {
	if s.peek() != open {
		s.fail("expected " + string(open))
		return false
	}
	s.i++
	if s.depth++; s.depth > depthMax {
		s.fail("nested too deep")
		return false
	}
	return true
}

// field passes to the next field of an object and returns its name; false at the object's end.
func (s *scanner) field(first *bool) (string, bool) {
	if !s.element(first, '}') {
		return "", false
	}
	if s.peek() != '"' {
		s.fail("expected a field's name")
		return "", false
	}
	name := s.str()
	if s.peek() != ':' {
		s.fail("expected a colon")
		return "", false
	}
	s.i++
	return name, s.bad == ""
}

// element passes to the next element of an array, or field of an object; false at its end.
func (s *scanner) element(first *bool, end byte) bool {
	c := s.peek()
	if c == end {
		s.i++
		s.depth--
		return false
	}
	if !*first {
		if c != ',' {
			s.fail("expected a comma")
			return false
		}
		s.i++
		s.peek()
	}
	*first = false
	return s.bad == "" && s.i < len(s.b) || s.ended()
}

func (s *scanner) ended() bool {
	s.fail("it ends in the middle")
	return false
}

// str reads a string; the next byte is its quote.
func (s *scanner) str() string {
	start := s.i + 1
	from := start
	if s.plain {
		for ; from+8 <= len(s.b); from += 8 {
			if quote := zeros(binary.LittleEndian.Uint64(s.b[from:]) ^ '"'*ones); quote != 0 {
				end := from + bits.TrailingZeros64(quote)/8
				s.i = end + 1
				return alias(s.b[start:end])
			}
		}
	}
	for i := from; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return alias(s.b[start:i])
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			s.fail("a control character in a string")
			return ""
		}
	}
	s.ended()
	return ""
}

func alias(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// escaped reads on from the first backslash, at i, of a string that began at start.
func (s *scanner) escaped(start, i int) string {
	if cap(s.scratch) < len(s.b) {
		s.scratch = make([]byte, 0, len(s.b)+len(s.b)/2)
	}
	from := len(s.scratch)
	out := append(s.scratch, s.b[start:i]...)
	for i < len(s.b) {
		c := s.b[i]
		switch {
		case c == '"':
			s.i = i + 1
			s.scratch = out
			return alias(out[from:])
		case c < ' ':
			s.fail("a control character in a string")
			return ""
		case c != '\\':
			out = append(out, c)
			i++
		default:
			var n int
			if out, n = unescape(out, s.b[i:]); n == 0 {
				s.fail("an escape that is none")
				return ""
			}
			i += n
		}
	}
	s.ended()
	return ""
}

// unescape appends the character that the escape at the beginning of b stands for, and returns the escape's length; 0 if it is none.
func unescape(out, b []byte) ([]byte, int) {
	if len(b) < 2 {
		return out, 0
	}
	const plain, means = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if b[1] != 'u' {
		for k := range plain {
			if plain[k] == b[1] {
				return append(out, means[k]), 2
			}
		}
		return out, 0
	}
	r := hex4(b[2:])
	if r < 0 {
		return out, 0
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), 6
	}
	if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
		return out, 0
	}
	pair := utf16.DecodeRune(r, hex4(b[8:]))
	if pair == utf8.RuneError {
		return out, 0
	}
	return utf8.AppendRune(out, pair), 12
}

func hex4(b []byte) (r rune) {
	if len(b) < 4 {
		return -1
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// digits passes an integer that is written plainly (no sign, point or exponent) and has at most 15 digits; false, and nothing
// passed, if what follows is anything else.
func (s *scanner) digits() (n int64, ok bool) {
	i := s.i
	for ; i < len(s.b) && s.b[i]-'0' <= 9; i++ {
		n = n*10 + int64(s.b[i]-'0')
		if i-s.i >= 15 {
			return 0, false
		}
	}
	if i == s.i || i == len(s.b) || s.b[s.i] == '0' && i > s.i+1 || s.b[i] == '.' || s.b[i]|0x20 == 'e' {
		return 0, false
	}
	s.i = i
	return n, true
}

// number reads a number and returns its text.
func (s *scanner) number() []byte {
	start, b := s.i, s.b
	i := start
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	from := i
	ok := digits() && (!zero || i == from+1)
	if ok && i < len(b) && b[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok {
		s.fail("a number that is none")
		return nil
	}
	s.i = i
	return b[start:i]
}

// value passes any value and returns its text.
func (s *scanner) value() []byte {
	c := s.peek()
	start := s.i
	switch {
	case c == '"':
		s.str()
	case c == '{':
		first := true
		if s.enter('{') {
			for _, ok := s.field(&first); ok; _, ok = s.field(&first) {
				s.value()
			}
		}
	case c == '[':
		first := true
		if s.enter('[') {
			for s.element(&first, ']') {
				s.value()
			}
		}
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		if !s.word("null") && !s.word("true") && !s.word("false") {
			s.fail("expected a value")
		}
	}
	if s.bad != "" {
		return nil
	}
	return s.b[start:s.i]
}

// word passes the given word.
func (s *scanner) word(w string) bool {
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return true
	}
	return false
}

// end checks that nothing follows.
func (s *scanner) end() {
	if s.peek() != 0 {
		s.fail("something follows its end")
	} else if s.i < len(s.b) {
		s.fail("a zero byte")
	}
}
