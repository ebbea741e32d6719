package decode

import (
	"bytes"
	"errors"
)

var errNoArray = errors.New("it is no array of values")

// Split returns the elements of a JSON array, which alias it. It looks into an element no further than to find its end:
// one that is no JSON is an element all the same, for a Decoder to reject by itself. It stops at one element more than limit.
func Split(array []byte, limit int) (elements [][]byte, err error) {
	b := bytes.Trim(array, space)
	if len(b) < 2 || b[0] != '[' {
		return nil, errNoArray
	}
	b = b[1:]
	if rest := bytes.TrimLeft(b, space); len(rest) == 1 && rest[0] == ']' {
		return nil, nil
	}
	for len(elements) <= limit {
		n := elementEnd(b)
		if n < 0 {
			return nil, errNoArray
		}
		element := bytes.Trim(b[:n], space)
		if len(element) == 0 {
			return nil, errNoArray
		}
		elements = append(elements, element)
		if b[n] == ']' {
			if n != len(b)-1 {
				return nil, errNoArray
			}
			return elements, nil
		}
		b = b[n+1:]
	}
	return elements, nil
}

const space = " \t\n\r"

// elementEnd is where the comma or bracket behind the first element stands; -1 when there is none.
func elementEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			if i = stringEnd(b, i+1); i < 0 {
				return -1
			}
		case '{', '[':
			depth++
		case ',':
			if depth == 0 {
				return i
			}
		case '}', ']':
			if depth == 0 {
				if b[i] == ']' {
					return i
				}
				return -1
			}
			depth--
		}
	}
	return -1
}

// stringEnd is where the quote stands that ends the string at i; -1 when there is none.
func stringEnd(b []byte, i int) int {
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		escapes := 0
		for b[i-1-escapes] == '\\' { // ends at the opening quote at the latest
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}
