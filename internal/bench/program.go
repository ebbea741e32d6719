package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readyTimeout is how long the program may take until all its stores are there.
const readyTimeout = time.Minute

// program is `cockpit serve` with some of its modules, as a process of its own.
type program struct {
	*engine.Process
	url string
}

// serve runs modules against the stores, over the database at postgresURL.
func (s *stores) serve(ctx context.Context, postgresURL, clickhouseURL string, modules ...string) (*program, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	name := "serve-" + strings.Join(modules, "-")
	p := &program{url: "http://" + address}
	p.Process, err = engine.Self(name, s.dir, []string{"COCKPIT_LISTEN=" + address, "COCKPIT_KAFKA_BROKERS=" + s.kafka.URL, "COCKPIT_POSTGRES_URL=" + postgresURL,
		"COCKPIT_CLICKHOUSE_URL=" + clickhouseURL, fmt.Sprintf("COCKPIT_PARTITIONS=%d", partitions)}, "serve", "--modules="+strings.Join(modules, ","))
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
		_ = p.Stop()
		log, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
		return nil, fmt.Errorf("%s: %w\n%s", name, err, log)
	}
	return p, nil
}

func (p *program) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.Exited():
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// key makes a service key for all sources.
func key(ctx context.Context, postgresURL string) (string, error) {
	pool, err := postgres.Open(ctx, postgresURL, postgres.RoleMetering)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return keyOf(ctx, pool)
}

func keyOf(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	text, _, err := keys.NewStore(pool).Create(ctx, keys.New{Name: "bench"})
	return text, err
}
