package api

import (
	"net/http"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ClickHouse is where usage is read from, through functions of rollups that name the account. An error of theirs goes
// through UsageAway.
func (c *Call) ClickHouse() (driver.Conn, error) {
	if c.api.cfg.ClickHouse == nil {
		return nil, UsageAway(nil)
	}
	return c.api.cfg.ClickHouse, nil
}

// UsageAway is the answer when usage can't be read: everything else goes on without ClickHouse.
func UsageAway(cause error) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, "usage_unavailable", "Usage can't be read now, since ClickHouse can't be reached or is slow; try again.").With("Retry-After", "5")
	p.cause = cause
	return p
}
