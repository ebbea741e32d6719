package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// ClickHouse says how to run one.
type ClickHouse struct {
	Engines Engines
	Data    string
	Logs    string
	Port    int // 0: one that is free
}

// Start runs ClickHouse in a child of this program, which serves its HTTP interface.
func (c ClickHouse) Start(ctx context.Context) (*Process, error) {
	if _, err := os.Stat(c.Engines.ClickHouse()); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no embedded ClickHouse for " + platform() + " (only linux-x64 has one): set COCKPIT_CLICKHOUSE_URL")
	}
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return nil, err
	}
	p, err := startSelf(ctx, "clickhouse", c.Logs, c.Engines.ClickHouse(), c.Data, strconv.Itoa(c.Port))
	if err == nil {
		p.URL = "http://" + p.URL
	}
	return p, err
}
