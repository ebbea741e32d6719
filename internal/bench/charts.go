package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/rollups"
	schema "github.com/alchemi/cockpit/schemas/clickhouse"
)

// charted is a month of usage. The tables are filled by ClickHouse itself, with what the writer would have written: rollups
// by day are sums of the events, and a sample of them is held against the sums that the writer makes in Go. Account 1 has a
// tenth of the events, the others shares of the rest that fall off as 1/rank.
const (
	chartedAccounts = 1000
	chartedUsers    = 100
	chartedDays     = 30
	chartedAnswers  = 5 // of a query in a round; the median counts
)

var chartedMonth = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

// madeEvents numbers what an event is of, and makes a row of it.
const madeEvents = `WITH
	cityHash64(number, 1) AS h1, cityHash64(number, 2) AS h2, cityHash64(number, 3) AS h3, h2 / 18446744073709551616. AS u,
	if(h1 %% 10 = 0, 1, toUInt64(floor(2 * pow(500.5, u)))) AS account_, h3 %% 100 AS user_, cityHash64(number, 4) AS h4,
	toInt64(200 + h4 %% 4000) AS input_, toInt64(50 + intDiv(h4, 4096) %% 800) AS output_, toInt64(intDiv(h4, 16777216) %% 1000) AS cached_,
	toInt64(input_ * 125 + output_ * 1000 + cached_ * 12) AS micros_
INSERT INTO usage_events
SELECT 1 + number %% 6, intDiv(number, 6), 'charged', '', toDateTime64('%s', 6, 'UTC') + toIntervalSecond(cityHash64(number, 5) %% (86400 * %d)), toDateTime64('%s', 3, 'UTC'),
	account_, 1, account_ * 1000 + 1, account_ * 1000 + 10 + user_ %% 4, account_ * 1000 + 100 + user_, account_ * 1000 + 300 + user_,
	[account_ * 1000, account_ * 1000 + 1, account_ * 1000 + 10 + user_ %% 4, account_ * 1000 + 100 + user_], toDateTime64('%s', 0, 'UTC'),
	1 + toUInt64(floor(5 * pow((intDiv(h3, 100) %% 1000) / 1000., 2))), 1, 1, 0, toDecimal128(micros_, 6) / 1000000, toDecimal128(micros_, 12) / 100000000,
	concat('01JD8X2M7Q4Z', toString(number)), 'bench', concat('user-', toString(user_)), '', 'model', concat('agent-', toString(intDiv(h3, 100000) %% 3)), if(intDiv(h3, 300000) %% 2 = 0, '', 'search'),
	'chat', if(h4 %% 50 = 0, 'error', 'ok'), [input_, output_, cached_, 0, 0, 0, 0, 0, 1, 0], toInt64(200 + h4 %% 2000), '', '', '4bf92f3577b34da6a3ce', '{"env":"prod"}', ''
FROM numbers(%d, %d)`

const (
	quantitySums = `sum(latency_ms), sum(quantities[1]), sum(quantities[2]), sum(quantities[3]), sum(quantities[4]), sum(quantities[5]),
	sum(quantities[6]), sum(quantities[7]), sum(quantities[8]), sum(quantities[9]), sum(quantities[10])`
	madeDays = `INSERT INTO usage_days SELECT account, section, toDate(time) AS day, organization, team, model, agent, tool, operation, status, source, count(), sum(credits), sum(cost), ` + quantitySums + `
	FROM usage_events GROUP BY account, section, day, organization, team, model, agent, tool, operation, status, source`
	madeModelDays = `INSERT INTO usage_model_days SELECT account, section, toDate(time) AS day, model, count(), sum(credits), sum(cost), ` + quantitySums + `
	FROM usage_events GROUP BY account, section, day, model`
)

// raw is the baseline: what the rollups answer, as well as the events can. The table is in the order of the account.
const raw = `SELECT toDate(time) AS day, model, count(), sum(credits), sum(cost), sum(quantities[1] + quantities[2] + quantities[3] + quantities[4] + quantities[5])
	FROM usage_events WHERE time >= ? AND time < ? AND decision IN ('charged', 'observed', 'reversal', 'recharge') %s GROUP BY day, model ORDER BY day, model`

// charts is P11.
func charts(ctx context.Context, r *runner) (gate, error) {
	dir, err := os.MkdirTemp("", "cockpit-bench-")
	if err != nil {
		return gate{}, err
	}
	c := &charted{dir: dir, o: r.o}
	if err := c.open(ctx); err != nil {
		c.close()
		return gate{}, err
	}
	most := func(what, unit string, goal, stretch float64) measure {
		return measure{what: what, unit: unit, goal: goal, stretch: stretch, atMost: true}
	}
	return gate{close: c.close, ours: func(ctx context.Context) ([]float64, error) { return c.measure(ctx, c.rollups) },
		baseline: func(ctx context.Context) ([]float64, error) { return c.measure(ctx, c.raw) },
		measures: []measure{most("platform, rows read", "rows", 0.02, 0.005), most("platform, time", "ms", 1./20, 1./50),
			most("account with a tenth, rows read", "rows", 0.02, 0.005), most("account with a tenth, time", "ms", 1./10, 1./50)},
		settings: fmt.Sprintf("%d events in a month, %d accounts × %d users, 4 teams, 5 models, 3 agents, 2 tools; by day and model; all parts merged; median of %d answers a round", r.o.ChartedEvents, chartedAccounts, chartedUsers, chartedAnswers)}, nil
}

// charted is a ClickHouse with a month of usage.
type charted struct {
	dir     string
	o       Options
	process *engine.Process
	ch      driver.Conn
	read    uint64 // rows that the last query read
}

func (c *charted) open(ctx context.Context) error {
	engines, err := engine.Install(ctx, c.o.Progress)
	if err != nil {
		return err
	}
	if c.process, err = (engine.ClickHouse{Engines: engines, Data: filepath.Join(c.dir, "clickhouse"), Logs: c.dir}).Start(ctx); err != nil {
		return err
	}
	fresh, err := schema.Open(ctx, c.process.URL)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := schema.Migrate(ctx, fresh); err != nil {
		return err
	}
	o, err := clickhouse.ParseDSN(c.process.URL + "/" + schema.Database)
	if err != nil {
		return err
	}
	o.Compression, o.ReadTimeout = nil, 30*time.Minute
	// ClickHouse says how many rows it read when the whole answer is there.
	o.Settings = clickhouse.Settings{"wait_end_of_query": 1}
	o.TransportFunc = func(t *http.Transport) (http.RoundTripper, error) { return &summaries{t, c}, nil }
	if c.ch, err = clickhouse.Open(o); err != nil {
		return err
	}
	return c.fill(ctx)
}

// summaries notes what each answer says that was read for it.
type summaries struct {
	http.RoundTripper
	c *charted
}

func (s *summaries) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		var summary struct {
			Rows string `json:"read_rows"`
		}
		if json.Unmarshal([]byte(res.Header.Get("X-ClickHouse-Summary")), &summary) == nil {
			s.c.read, _ = strconv.ParseUint(summary.Rows, 10, 64)
		}
	}
	return res, err
}

func (c *charted) fill(ctx context.Context) error {
	const step = 1_000_000
	month := chartedMonth.Format(time.DateTime)
	for from := 0; from < c.o.ChartedEvents; from += step {
		n := min(step, c.o.ChartedEvents-from)
		if err := c.ch.Exec(ctx, fmt.Sprintf(madeEvents, month, chartedDays, month, month, from, n)); err != nil {
			return fmt.Errorf("make events: %w", err)
		}
		fmt.Fprintf(c.o.Progress, "made %d of %d events in ClickHouse\n", from+n, c.o.ChartedEvents)
	}
	for _, sql := range []string{`OPTIMIZE TABLE usage_events FINAL`, madeDays, madeModelDays, `OPTIMIZE TABLE usage_days FINAL`, `OPTIMIZE TABLE usage_model_days FINAL`} {
		if err := c.ch.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%.40s: %w", sql, err)
		}
	}
	for _, account := range []int64{1, 2, 10, 100, 1000} {
		if err := rollups.Reconcile(ctx, c.ch, account, chartedMonth.AddDate(0, 0, int(account%chartedDays))); err != nil {
			return fmt.Errorf("BUG: the rollups that were made are not those of the writer: %w", err)
		}
	}
	return nil
}

func (c *charted) close() {
	if c.ch != nil {
		_ = c.ch.Close()
	}
	if c.process != nil {
		_ = c.process.Stop()
	}
	_ = os.RemoveAll(c.dir)
}

// measure asks for the platform and for account 1: rows and time of each.
func (c *charted) measure(ctx context.Context, ask func(context.Context, int64) (int, error)) ([]float64, error) {
	var out []float64
	for _, account := range []int64{0, 1} {
		var times []float64
		for range chartedAnswers {
			begin := time.Now()
			sums, err := ask(ctx, account)
			if err != nil {
				return nil, err
			}
			times = append(times, float64(time.Since(begin).Microseconds())/1000)
			if want := chartedDays * 5; sums != want {
				return nil, fmt.Errorf("%d sums by day and model of account %d, and not %d", sums, account, want)
			}
		}
		slices.Sort(times)
		out = append(out, float64(c.read), times[len(times)/2])
	}
	return out, nil
}

func (c *charted) rollups(ctx context.Context, account int64) (int, error) {
	sums, err := rollups.Usage(ctx, c.ch, rollups.Query{Account: account, Platform: account == 0, From: chartedMonth, To: chartedMonth.AddDate(0, 0, chartedDays), Grain: rollups.Days, By: []string{"model"}})
	return len(sums), err
}

func (c *charted) raw(ctx context.Context, account int64) (n int, err error) {
	only := ""
	if account != 0 {
		only = fmt.Sprintf("AND account = %d", account)
	}
	rows, err := c.ch.Query(ctx, fmt.Sprintf(raw, only), chartedMonth, chartedMonth.AddDate(0, 0, chartedDays))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
