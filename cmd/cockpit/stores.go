package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// endpoints is how to reach a running `cockpit dev`; it is kept in endpoints.json.
type endpoints struct {
	API          string `json:"api"`
	Kafka        string `json:"kafka"`
	Postgres     string `json:"postgres"`
	ClickHouse   string `json:"clickhouse"`
	ServiceKey   string `json:"service_key"`
	Issuer       string `json:"issuer,omitempty"`        // dev's own
	IssuerSecret string `json:"issuer_secret,omitempty"` // gets a token for anybody
}

const endpointsFile = "endpoints.json"

func (e *endpoints) write(dir string) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, endpointsFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// reach finds the stores of a command: those of the environment, else those of the local dev.
func (o *options) reach() (*config, *endpoints, error) {
	cfg, err := loadConfig()
	if err != nil {
		return nil, nil, err
	}
	e := &endpoints{}
	text, err := os.ReadFile(filepath.Join(o.data, endpointsFile))
	if err == nil {
		err = json.Unmarshal(text, e)
	}
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || cfg.PostgresURL == "") {
		return nil, nil, fmt.Errorf("no `cockpit dev` keeps its data in %s (%w); start one, name its --data, or set COCKPIT_POSTGRES_URL and COCKPIT_KAFKA_BROKERS", o.data, err)
	}
	if cfg.PostgresURL == "" {
		cfg.PostgresURL = e.Postgres
	}
	if len(cfg.KafkaBrokers) == 0 {
		cfg.KafkaBrokers = []string{e.Kafka}
	}
	if cfg.ClickHouseURL == "" {
		cfg.ClickHouseURL = e.ClickHouse
	}
	return cfg, e, nil
}

// database opens a command's database.
func (o *options) database(ctx context.Context) (*config, *pgxpool.Pool, error) {
	cfg, _, err := o.reach()
	if err != nil {
		return nil, nil, err
	}
	pool, err := postgres.Open(ctx, cfg.PostgresURL, postgres.RoleMetering)
	return cfg, pool, err
}
