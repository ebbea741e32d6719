package audit

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/alchemi/cockpit/control/sheet"
)

// header are the columns of a CSV file.
var header = []string{"id", "at", "account", "section", "actor_kind", "actor_id", "actor_name", "role", "client", "action", "object_kind", "object_id", "object_name",
	"changes", "reason", "request_id", "address"}

// WriteCSV writes a header and a line for each record. Cells that a spreadsheet would take for a formula begin with a quote.
func WriteCSV(w io.Writer, records iter.Seq2[*Record, error]) error {
	c := csv.NewWriter(w)
	if err := c.Write(header); err != nil {
		return err
	}
	for r, err := range records {
		if err != nil {
			return err
		}
		changes, err := json.Marshal(r.Changes)
		if err != nil {
			return fmt.Errorf("changes of %s: %w", r.ID, err)
		}
		cells := []string{r.ID, r.At.Format(time.RFC3339Nano), r.Account, r.Section, r.Actor.Kind, r.Actor.ID, r.Actor.Name, r.Actor.Role, r.Actor.Client, r.Action,
			r.Object.Kind, r.Object.ID, r.Object.Name, string(changes), r.Reason, r.RequestID, r.Address}
		for i := range cells {
			cells[i] = sheet.Cell(cells[i])
		}
		if err := c.Write(cells); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// WriteNDJSON writes a line of JSON for each record.
func WriteNDJSON(w io.Writer, records iter.Seq2[*Record, error]) error {
	enc := json.NewEncoder(w)
	for r, err := range records {
		if err == nil {
			err = enc.Encode(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
