package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	deepRows  = 1_000_000
	listReads = 400   // a round
	writes    = 2_000 // a round
)

// everybody is a super admin: what is measured here lies behind signing in.
type everybody struct{}

// Authenticate implements api.Authenticator.
func (everybody) Authenticate(*http.Request) (*access.Principal, error) {
	return &access.Principal{Kind: access.Person, ID: 1, Name: "bench", Grants: []access.Grant{{Role: access.SuperAdmin}}}, nil
}

// adminOf is an admin of one account.
type adminOf struct{ account int64 }

// Authenticate implements api.Authenticator.
func (a *adminOf) Authenticate(*http.Request) (*access.Principal, error) {
	return &access.Principal{Kind: access.Person, ID: 1, Name: "bench", Grants: []access.Grant{{Role: access.AccountAdmin, Account: a.account}}}, nil
}

// controlled is the control API over a database of its own.
type controlled struct {
	stores api.Stores
	owner  *pgxpool.Pool
	server *httptest.Server
}

func (r *runner) control(ctx context.Context, who api.Authenticator) (*controlled, error) {
	s, err := r.directory(ctx)
	if err != nil {
		return nil, err
	}
	url, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	return controls(ctx, url, who)
}

// controls is the control API over the database at url, for whoever calls it.
func controls(ctx context.Context, url string, who api.Authenticator) (c *controlled, err error) {
	c = &controlled{}
	if c.owner, err = pgxpool.New(ctx, url); err != nil {
		return nil, err
	}
	if c.stores.App, err = postgres.Open(ctx, url, postgres.RoleApp); err != nil {
		return nil, err
	}
	if c.stores.Platform, err = postgres.Open(ctx, url, postgres.RolePlatform); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	c.server = httptest.NewServer(control.New(api.Config{Stores: c.stores, Authenticator: who, Audit: audit.NewLog(key),
		Log: slog.New(slog.DiscardHandler), Now: time.Now}).Handler())
	return c, nil
}

func (c *controlled) close() {
	c.server.Close()
	c.stores.App.Close()
	c.stores.Platform.Close()
	c.owner.Close()
}

// deepLists compares the page behind a million rows with the first one, in an order that is not the rows' own.
func deepLists(ctx context.Context, r *runner) (gate, error) {
	c, err := r.control(ctx, everybody{})
	if err != nil {
		return gate{}, err
	}
	fmt.Fprintf(r.o.Progress, "making %d accounts\n", deepRows)
	if _, err = c.owner.Exec(ctx, fmt.Sprintf(`INSERT INTO accounts (key, name, time_zone) SELECT 'deep-' || lpad(n::text, 8, '0'), 'Deep', 'UTC' FROM generate_series(1, %d) n`, deepRows)); err == nil {
		_, err = c.owner.Exec(ctx, `VACUUM ANALYZE accounts`)
	}
	if err != nil {
		c.close()
		return gate{}, err
	}
	page := func(ctx context.Context, after string) (float64, error) {
		var times []time.Duration
		for range listReads {
			begin := time.Now()
			if err := c.get(ctx, "/v1/platform/accounts?limit=50"+after); err != nil {
				return 0, err
			}
			times = append(times, time.Since(begin))
		}
		slices.Sort(times)
		return float64(times[len(times)/2].Microseconds()) / 1000, nil
	}
	deep := "&cursor=" + api.CursorAt("a.key", fmt.Sprintf("deep-%08d", deepRows-100))
	return gate{measures: []measure{{unit: "ms", goal: 1.2, atMost: true}}, close: c.close,
		baseline: one(func(ctx context.Context) (float64, error) { return page(ctx, "") }),
		ours:     one(func(ctx context.Context) (float64, error) { return page(ctx, deep) }),
		settings: fmt.Sprintf("%d accounts by key; p50 of %d pages of 50, the first and the last but one", deepRows, listReads)}, nil
}

func (c *controlled) get(ctx context.Context, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.server.Client().Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, resp.StatusCode, text)
	}
	return err
}

// rowSecurity compares a change of an account under forced row-level security, as the API makes it, with the same statements
// by the tables' owner, whom it does not bind.
func rowSecurity(ctx context.Context, r *runner) (gate, error) {
	c, err := r.control(ctx, everybody{})
	if err != nil {
		return gate{}, err
	}
	var account int64
	if err := c.owner.QueryRow(ctx, `SELECT min(account_id) FROM accounts`).Scan(&account); err != nil {
		c.close()
		return gate{}, err
	}
	rate := func(ctx context.Context, s api.Stores) (float64, error) {
		begin := time.Now()
		for i := range writes {
			err := s.InTx(ctx, account, pgx.ReadWrite, func(tx pgx.Tx) error {
				var user int64
				if err := tx.QueryRow(ctx, `SELECT id FROM users WHERE account_id = $1 ORDER BY id LIMIT 1 FOR UPDATE`, account).Scan(&user); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `UPDATE users SET name = $3 WHERE account_id = $1 AND id = $2`, account, user, fmt.Sprint(i))
				return err
			})
			if err != nil {
				return 0, err
			}
		}
		return float64(time.Since(begin).Microseconds()) / writes / 1000, nil
	}
	return gate{measures: []measure{{unit: "ms", goal: 1.5, atMost: true}}, close: c.close,
		baseline: one(func(ctx context.Context) (float64, error) { return rate(ctx, api.Stores{App: c.owner}) }),
		ours:     one(func(ctx context.Context) (float64, error) { return rate(ctx, c.stores) }),
		settings: fmt.Sprintf("%d transactions, one after the other: lock and change a user's row", writes)}, nil
}
