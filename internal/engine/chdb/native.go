package chdb

import (
	"errors"
	"fmt"
	"io"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// transcode copies blocks of the Native format of revision 0 as blocks of another revision.
func transcode(w io.Writer, r io.Reader, revision uint64) error {
	in, out := chproto.NewReader(r), new(chproto.Buffer)
	for {
		block := proto.NewBlock()
		if err := block.Decode(in, 0); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("decode a block: %w", err)
		}
		out.Reset()
		if err := block.Encode(out, revision); err != nil {
			return fmt.Errorf("encode a block: %w", err)
		}
		if _, err := w.Write(out.Buf); err != nil {
			return err
		}
	}
}
