package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/internal/outgoing"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sync/errgroup"
)

// auditKeys are what entries and heads are authenticated with, of every key that the file has had.
func auditKeys(own *secrets.Keys) audit.Keys {
	return audit.NewKeys(own.DeriveAll("audit mac", auditKeyLen), own.DeriveAll("audit head", auditKeyLen))
}

// auditLog writes entries by the newest key.
func auditLog(own *secrets.Keys) *audit.Log {
	return audit.NewLog(own.Derive("audit mac", auditKeyLen))
}

// checkAudit names the mistakes in where the audit log is sent.
func (c *config) checkAudit(check func(ok bool, format string, args ...any)) {
	check((c.AuditWebhookURL == "") == (c.AuditWebhookSecret == ""), "COCKPIT_AUDIT_WEBHOOK_URL and COCKPIT_AUDIT_WEBHOOK_SECRET belong together")
	if c.AuditWebhookURL != "" && c.AuditWebhookSecret != "" {
		_, err := c.auditWebhook()
		check(err == nil, "COCKPIT_AUDIT_WEBHOOK_URL, COCKPIT_AUDIT_WEBHOOK_SECRET: %v", err)
	}
}

func (c *config) auditWebhook() (audit.Sink, error) {
	return audit.Webhook(c.AuditWebhookURL, c.AuditWebhookSecret, outgoing.New(outgoing.Config{PrivateHosts: c.PrivateHosts}), time.Now)
}

// startAudit seals the audit log and hands it out.
func (p *program) startAudit(ctx context.Context, g *errgroup.Group, own *secrets.Keys) error {
	sealer := audit.NewSealer(p.stores.Platform, auditKeys(own), p.log, time.Now)
	g.Go(func() error { return sealer.Run(ctx) })
	topic := audit.NewExporter(p.stores.Platform, audit.KafkaSink, audit.Kafka(p.producer), p.log)
	g.Go(func() error { return topic.Run(ctx) })
	if p.cfg.AuditWebhookURL == "" {
		return nil
	}
	sink, err := p.cfg.auditWebhook()
	if err != nil {
		return err
	}
	webhook := audit.NewExporter(p.stores.Platform, audit.WebhookSink, sink, p.log)
	g.Go(func() error { return webhook.Run(ctx) })
	return nil
}

func auditCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The audit log: prove it, keep its heads, look into it"}
	c.AddCommand(auditVerifyCommand(o), auditHeadsCommand(o), auditShowCommand(o))
	return c
}

// auditStore opens what commands on the audit log need.
func (o *options) auditStore(ctx context.Context) (*config, *pgxpool.Pool, error) {
	cfg, _, err := o.reach()
	if err != nil {
		return nil, nil, err
	}
	pool, err := postgres.Open(ctx, cfg.PostgresURL, postgres.RolePlatform)
	return cfg, pool, err
}

// chain is the chain of an account by its key; "" is the platform's.
func chain(ctx context.Context, pool *pgxpool.Pool, key string) (id int64, err error) {
	if key == "" {
		return 0, nil
	}
	if err = pool.QueryRow(ctx, `SELECT account_id FROM accounts WHERE key = $1`, key).Scan(&id); err != nil {
		return 0, fmt.Errorf("account %s: %w", key, err)
	}
	return id, nil
}

func auditVerifyCommand(o *options) *cobra.Command {
	var account, heads string
	c := &cobra.Command{Use: "verify", Short: "Find every edited, deleted, reordered, inserted or cut off entry; exit 1 if there is one", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return auditVerify(c, o, account, heads) }}
	c.Flags().StringVar(&account, "account", "", "only this account's chain, by its key")
	c.Flags().StringVar(&heads, "heads", "", "compare with the heads in this file, that `audit heads` wrote, instead of those in Kafka")
	return c
}

func auditVerify(c *cobra.Command, o *options, account, heads string) error {
	ctx := c.Context()
	cfg, pool, err := o.auditStore(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	own, err := secrets.Load(o.keysFile(cfg))
	if err != nil {
		return fmt.Errorf("the log is proved with the program's keys (COCKPIT_KEYS_FILE): %w", err)
	}
	bar := newBar(c.ErrOrStderr())
	defer bar.close()
	v := &audit.Verifier{Keys: auditKeys(own), Now: time.Now, Progress: func(done, total int64) { bar.set("sealed entries", done, total) }}
	if account != "" {
		id, err := chain(ctx, pool, account)
		if err != nil {
			return err
		}
		v.Account = &id
	}
	if heads != "" {
		v.Kept, err = readHeads(heads)
	} else {
		v.Kept, err = audit.KafkaHeads(ctx, cfg.kafka(), v.Keys, func(done, total int64) { bar.set("events in Kafka", done, total) })
	}
	if err != nil {
		return err
	}
	found := 0
	out := json.NewEncoder(c.OutOrStdout())
	v.Found = func(f audit.Finding) {
		if found++; o.json {
			_ = out.Encode(f) // what reads it may have gone; the exit code says the rest
			return
		}
		entry := ""
		if f.Entry != 0 {
			entry = "  " + api.EntryKind.ID(f.Entry)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  seq %d%s  %s: %s\n", f.Account, f.Seq, entry, f.What, f.Detail)
	}
	checked, err := v.Verify(ctx, pool)
	if err != nil {
		return err
	}
	bar.close()
	if err := auditVerdict(c.OutOrStdout(), o, checked, found); err != nil {
		return err
	}
	if found > 0 {
		return errFound
	}
	return nil
}

// auditVerdict is the last line: how much was looked at, and whether it is as it was written.
func auditVerdict(w io.Writer, o *options, c audit.Checked, found int) error {
	if o.json {
		return json.NewEncoder(w).Encode(struct {
			OK    bool `json:"ok"`
			Found int  `json:"found"`
			audit.Checked
		}{found == 0, found, c})
	}
	_, err := fmt.Fprintf(w, "%d sealed entries in %d chains, %d that wait for their seal, %d heads kept outside: %d findings\n", c.Sealed, c.Chains, c.Waiting, c.Heads, found)
	return err
}

func readHeads(path string) (map[int64][]audit.Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kept := map[int64][]audit.Head{}
	for dec := json.NewDecoder(bufio.NewReader(f)); ; {
		var h audit.Head
		if err := dec.Decode(&h); err == io.EOF {
			return kept, nil
		} else if err != nil {
			return nil, fmt.Errorf("heads in %s: %w", path, err)
		}
		kept[h.Chain] = append(kept[h.Chain], h)
	}
}

func auditHeadsCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "heads", Short: "The signed end of every chain, to be kept outside: NDJSON for `audit verify --heads`", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, pool, err := o.auditStore(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			heads, err := audit.Heads(c.Context(), pool)
			if err != nil {
				return err
			}
			out := json.NewEncoder(c.OutOrStdout())
			for i := range heads {
				if err := out.Encode(&heads[i]); err != nil {
					return err
				}
			}
			return nil
		}}
}

func auditShowCommand(o *options) *cobra.Command {
	var account string
	var limit int
	f := audit.Filter{}
	c := &cobra.Command{Use: "show", Short: "The newest entries of an account, or of the platform", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, pool, err := o.auditStore(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			if f.Account, err = chain(c.Context(), pool, account); err != nil {
				return err
			}
			store := audit.NewStore(func(ctx context.Context, _ int64, read func(pgx.Tx) error) error {
				return pgx.BeginFunc(ctx, pool, read)
			})
			records, err := store.Page(c.Context(), f, audit.Place{}, limit)
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, records, "ID\tAT\tACTOR\tACTION\tOBJECT\tREASON", func(r audit.Record) []string {
				return []string{r.ID, r.At.Format(time.RFC3339), r.Actor.Name, r.Action, r.Object.Kind + " " + r.Object.Name + " (" + r.Object.ID + ")", r.Reason}
			})
		}}
	c.Flags().StringVar(&account, "account", "", "the account's key; empty: the platform's own log")
	c.Flags().StringVar(&f.Actor, "actor", "", "only what this one did, by id")
	c.Flags().StringVar(&f.Action, "action", "", "only this action; noun.* for all of a noun's")
	c.Flags().StringVar(&f.ObjectKind, "object-kind", "", "only what was done to objects of this kind")
	c.Flags().StringVar(&f.ObjectID, "object", "", "only what was done to this object, by id")
	c.Flags().IntVar(&limit, "limit", 50, "how many")
	return c
}

// bar tells people how far something is: a bar on a terminal, a line now and then elsewhere.
type bar struct {
	out  io.Writer
	all  *mpb.Progress // nil: lines
	bar  *mpb.Bar
	what string
	last time.Time
}

func newBar(out io.Writer) *bar {
	b := &bar{out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			b.all = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
		}
	}
	return b
}

func (b *bar) set(what string, done, total int64) {
	switch {
	case b.all == nil && time.Since(b.last) >= statusEvery:
		b.last = time.Now()
		fmt.Fprintf(b.out, "%s: %d of %d\n", what, done, total)
	case b.all == nil:
	default:
		if what != b.what {
			b.finish()
			b.what = what
			b.bar = b.all.AddBar(total, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name(what+" "), decor.CountersNoUnit("%d of %d")))
		}
		b.bar.SetCurrent(done)
	}
}

func (b *bar) finish() {
	if b.bar != nil {
		b.bar.SetTotal(-1, true)
		b.bar = nil
	}
}

// close leaves the terminal as it was.
func (b *bar) close() {
	if b.all != nil {
		b.finish()
		b.all.Wait()
		b.all = nil
	}
}
