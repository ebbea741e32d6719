package journal

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Replay is an operator's permission to charge a quarantined event although it comes too late by the clock.
type Replay struct {
	TopicID   string // where the quarantined event stood
	Partition int32
	Offset    int64
	Identity  [16]byte
}

// Authorize records permissions. One that is there already is no error.
func (s *Postgres) Authorize(ctx context.Context, author string, replays []Replay) error {
	batch := &pgx.Batch{}
	for _, r := range replays {
		batch.Queue(`INSERT INTO replays (src_topic_id, src_partition, src_offset, identity, author) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (src_topic_id, src_partition, src_offset) DO NOTHING`, r.TopicID, r.Partition, r.Offset, r.Identity[:], author)
	}
	return wrap(s.pool.SendBatch(ctx, batch).Close(), "authorize replays")
}

// Authorized sets true for each of the identities that an operator has authorized.
func (s *Postgres) Authorized(ctx context.Context, identities map[[16]byte]bool) error {
	asked := make([][]byte, 0, len(identities))
	for id := range identities {
		asked = append(asked, id[:])
	}
	rows, err := s.pool.Query(ctx, `SELECT identity FROM replays WHERE identity = ANY($1)`, asked)
	if err != nil {
		return wrap(err, "look up replays")
	}
	var id []byte
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { identities[[16]byte(id)] = true; return nil })
	return wrap(err, "look up replays")
}

// Secret is the deployment's key of identity hashes.
func (s *Postgres) Secret(ctx context.Context) (secret [16]byte, err error) {
	var b []byte
	err = s.pool.QueryRow(ctx, `SELECT identity_secret FROM deployment`).Scan(&b)
	if err == nil {
		secret = [16]byte(b)
	}
	return secret, wrap(err, "read the identity secret")
}
