package users

import (
	"errors"
	"slices"
	"strings"
)

// called is an identity as files have it: what a source calls a user.
type called struct{ source, value string }

// identityEscapes are what has a meaning of its own in the cell of identities.
var identityEscapes = strings.NewReplacer(`\`, `\\`, `;`, `\;`, `=`, `\=`)

// identitiesCell is a list of identities as one cell: source=value; source=value. A backslash takes the meaning of what follows it:
// of ; and = and \, and of a space where a text begins or ends with it.
func identitiesCell(list []called) string {
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = escape(one.source) + "=" + escape(one.value)
	}
	return strings.Join(texts, "; ")
}

func escape(text string) string {
	escaped := identityEscapes.Replace(text)
	if strings.HasSuffix(escaped, " ") {
		escaped = escaped[:len(escaped)-1] + `\ `
	}
	if strings.HasPrefix(escaped, " ") {
		escaped = `\` + escaped
	}
	return escaped
}

var (
	errNoPair = errors.New(`an identity is source=value; several are separated by ";"`)
	errEscape = errors.New(`a backslash stands before the character that it is about, and not at the end`)
)

// readIdentities reads what identitiesCell writes, whatever spaces are around it. Each is there once, in order.
func readIdentities(cell string) (list []called, err error) {
	for rest, more := cell, true; more; {
		var one string
		if one, rest, more = cut(rest, ';'); strings.Trim(one, " ") == "" {
			continue
		}
		source, value, ok := cut(one, '=')
		if !ok {
			return nil, errNoPair
		}
		var pair called
		if pair.source, err = unescape(source); err != nil {
			return nil, err
		}
		if pair.value, err = unescape(value); err != nil {
			return nil, err
		}
		list = append(list, pair)
	}
	slices.SortFunc(list, called.compare)
	return slices.Compact(list), nil
}

func (a called) compare(b called) int {
	if n := strings.Compare(a.source, b.source); n != 0 {
		return n
	}
	return strings.Compare(a.value, b.value)
}

// cut is strings.Cut around the first separator that has its meaning.
func cut(text string, separator byte) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case separator:
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// unescape takes away the spaces around a text, and the backslashes in it.
func unescape(text string) (string, error) {
	var plain strings.Builder
	kept := 0 // of plain: what stands before spaces that may be the last
	for i, begun := 0, false; i < len(text); i++ {
		c := text[i]
		if c == ' ' && !begun {
			continue
		}
		begun = true
		literal := c == '\\'
		if literal {
			if i++; i == len(text) {
				return "", errEscape
			}
			c = text[i]
		}
		plain.WriteByte(c)
		if literal || c != ' ' {
			kept = plain.Len()
		}
	}
	return plain.String()[:kept], nil
}
