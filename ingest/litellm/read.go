package litellm

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/alchemi/cockpit/schemas/events"
)

// The callback's formats. Any finds out by itself; a broken line is told from the next best where the format is given.
const (
	Any       = ""
	JSONArray = "json_array"
	NDJSON    = "ndjson"
	Single    = "single"
)

// The limits of a body.
const (
	BodyBytesMax = 64 << 20
	ItemBytesMax = 1 << 20
	ItemsMax     = 1 << 16
)

// ErrTooLarge says that a body is over BodyBytesMax or ItemsMax. The items before were given.
var ErrTooLarge = errors.New("the body has more than 64 MiB or 65,536 items")

// Binding is what the service key says and LiteLLM does not.
type Binding struct {
	Source, Section string
	Account         string // used where the payload names no organization
}

// Item is one logged call: an event or an error.
type Item struct {
	Event []byte // a structured CloudEvent
	Kept  []byte // with an error: a JSON object of what may be kept, enough to map it again where only a value was wrong
	Err   error  // an *Error
}

// Error says why an item can't be mapped: malformed, schema or too_large.
type Error struct {
	Reason events.Reason
	Detail string
}

// Error implements error.
func (e *Error) Error() string { return e.Detail }

// Read gives each item of a body to each, in order. It stops at each's error and returns it as it is; it returns ErrTooLarge,
// or what reading failed with, after all items that could be read. What is open when the body ends is an item with an error.
func Read(r io.Reader, format string, b Binding, each func(index int, item Item) error) error {
	f := frames{r: bufio.NewReaderSize(&limited{r: r, left: BodyBytesMax}, 64<<10)}
	switch format {
	case Any, Single, JSONArray:
	case NDJSON:
		f.mode = lines
	default:
		return fmt.Errorf("format %.40q is none of %s, %s, %s", format, JSONArray, NDJSON, Single)
	}
	for i := 0; f.next(); i++ {
		if i == ItemsMax {
			return ErrTooLarge
		}
		if err := each(i, one(&f, b)); err != nil {
			return err
		}
	}
	if errors.Is(f.err, io.EOF) {
		return nil
	}
	return f.err
}

func one(f *frames, b Binding) Item {
	p, bad := pick(f.item)
	if f.size > ItemBytesMax {
		bad = &Error{events.TooLarge, fmt.Sprintf("the item has %d bytes, at most %d", f.size, ItemBytesMax)}
	}
	if bad == nil {
		var event []byte
		if event, bad = convert(p, b); bad == nil {
			return Item{Event: event}
		}
	}
	return Item{Err: bad, Kept: keep(p)}
}

// limited fails with ErrTooLarge where io.LimitReader would end.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		n, err = int(l.left), ErrTooLarge
	}
	l.left -= int64(n)
	return n, err
}
