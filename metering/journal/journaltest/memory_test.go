package journaltest_test

import (
	"testing"

	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/journal/journaltest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	journaltest.Contract(t, func(*testing.T) journal.Store { return &journaltest.Memory{} })
}
