package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// idempotencyKept is how long an answer is kept for a request that comes again (contracts.md).
const idempotencyKept = 24 * time.Hour

// Idempotent is embedded by the inputs of writes.
type Idempotent struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"any text of your own, kept for 24 hours: the same request with the same key has one effect and the same answer" example:"b7c1e1f0"`
}

func (i Idempotent) idempotencyKey() string { return i.IdempotencyKey }

type idempotent interface{ idempotencyKey() string }

// Cipher keeps stored answers unreadable in the database: some have secrets that are shown once.
type Cipher interface {
	Seal(text []byte, about string) ([]byte, error)
	Open(sealed []byte, about string) ([]byte, error)
}

// once runs f unless the same request was answered before, whose answer it returns then. A request that runs at the same
// time with the same key is waited for: the row that it inserted is locked until its transaction ends.
func once[O any](ctx context.Context, c *Call, key string, input any, f func() (*O, error)) (*O, error) {
	if key == "" {
		return f()
	}
	hash, err := c.hash(input)
	if err != nil {
		return nil, err
	}
	caller := c.caller()
	_, err = c.Tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2 AND created_at < $3`, caller, key, c.Now.Add(-idempotencyKept))
	if err != nil {
		return nil, err
	}
	tag, err := c.Tx.Exec(ctx, `INSERT INTO idempotency_keys (account_id, caller, key, request_hash, created_at) VALUES (nullif($1, 0), $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, c.accountID(), caller, key, hash, c.Now)
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() == 0 {
		return answered[O](ctx, c, caller, key, hash)
	}
	out, err := f()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	sealed, err := c.api.cfg.Cipher.Seal(text, about(caller, key))
	if err != nil {
		return nil, err
	}
	_, err = c.Tx.Exec(ctx, `UPDATE idempotency_keys SET answer = $3 WHERE caller = $1 AND key = $2`, caller, key, sealed)
	return out, err
}

// answered is the answer of before.
func answered[O any](ctx context.Context, c *Call, caller, key string, hash []byte) (*O, error) {
	var before, sealed []byte
	err := c.Tx.QueryRow(ctx, `SELECT request_hash, answer FROM idempotency_keys WHERE caller = $1 AND key = $2`, caller, key).Scan(&before, &sealed)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && string(before) != string(hash) {
		return nil, NewProblem(http.StatusUnprocessableEntity, CodeKeyReused, "This Idempotency-Key was used for another request.")
	}
	if err != nil {
		return nil, err
	}
	text, err := c.api.cfg.Cipher.Open(sealed, about(caller, key))
	if err != nil {
		return nil, fmt.Errorf("the answer kept for an Idempotency-Key: %w", err)
	}
	out := new(O)
	if err := json.Unmarshal(text, out); err != nil {
		return nil, err
	}
	c.repeated = true
	return out, nil
}

// about binds a sealed answer to the request that it answers.
func about(caller, key string) string { return "answer of " + caller + "\n" + key }

// hash tells one request from another: the operation, the path and query, and the input as it was understood.
func (c *Call) hash(input any) ([]byte, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", c.operation.Method, c.uri, text))
	return sum[:], nil
}

// forgetAnswers removes those that are older than they are kept for.
func (a *API) forgetAnswers(ctx context.Context) error {
	_, err := a.cfg.Stores.Platform.Exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < $1`, a.cfg.Now().Add(-idempotencyKept))
	return err
}
