package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func dlqCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "The quarantine: what could not be charged, and why"}
	filter := &dlqFilter{}
	c.PersistentFlags().StringVar(&filter.reason, "reason", "", "only this reason")
	c.PersistentFlags().StringVar(&filter.account, "account", "", "only this account's")
	c.AddCommand(dlqList(o, filter), dlqShow(o, filter), dlqReplay(o, filter))
	return c
}

type dlqFilter struct{ reason, account string }

// open reads what is in quarantine and was not charged since. Of an identity that came several times, the last counts.
func (f *dlqFilter) open(ctx context.Context, cfg *config, store *journal.Postgres) ([]quarantine.Item, error) {
	var items []quarantine.Item
	byTopic := map[string]map[[16]byte]bool{}
	place := map[[16]byte]int{}
	err := quarantine.Each(ctx, cfg.kafka(), func(it quarantine.Item) error {
		if f.reason != "" && it.Reason.String() != f.reason || f.account != "" && it.Account != f.account {
			return nil
		}
		if it.Identity != ([16]byte{}) {
			if i, again := place[it.Identity]; again {
				items[i] = it
				return nil
			}
			place[it.Identity] = len(items)
			if byTopic[it.Source.Topic] == nil {
				byTopic[it.Source.Topic] = map[[16]byte]bool{}
			}
			byTopic[it.Source.Topic][it.Identity] = false
		}
		items = append(items, it)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var left []quarantine.Item
	for topic, identities := range byTopic {
		if err := store.Decided(ctx, topic, identities, time.Unix(0, 0), time.Now().Add(time.Hour)); err != nil {
			return nil, err
		}
	}
	for _, it := range items {
		if !byTopic[it.Source.Topic][it.Identity] {
			left = append(left, it)
		}
	}
	return left, nil
}

func (f *dlqFilter) run(c *cobra.Command, o *options, with func(cfg *config, store *journal.Postgres, items []quarantine.Item) error) error {
	cfg, pool, err := o.database(c.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	store := journal.NewPostgres(pool)
	items, err := f.open(c.Context(), cfg, store)
	if err != nil {
		return err
	}
	return with(cfg, store, items)
}

func dlqList(o *options, f *dlqFilter) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "How many events wait, by reason and account", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c, o, func(_ *config, _ *journal.Postgres, items []quarantine.Item) error {
				type group struct {
					Reason  string `json:"reason"`
					Account string `json:"account"`
					Count   int    `json:"count"`
				}
				counts := map[[2]string]int{}
				for _, it := range items {
					counts[[2]string{it.Reason.String(), it.Account}]++
				}
				var groups []group
				for k, n := range counts {
					groups = append(groups, group{k[0], k[1], n})
				}
				sort.Slice(groups, func(i, j int) bool {
					a, b := groups[i], groups[j]
					return a.Count > b.Count || a.Count == b.Count && a.Reason+a.Account < b.Reason+b.Account
				})
				return printRows(c.OutOrStdout(), o, groups, "REASON\tACCOUNT\tCOUNT", func(g group) []string { return []string{g.Reason, g.Account, strconv.Itoa(g.Count)} })
			})
		}}
}

func dlqShow(o *options, f *dlqFilter) *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Each event that waits, with why and what it was", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c, o, func(_ *config, _ *journal.Postgres, items []quarantine.Item) error {
				type row struct {
					At      time.Time `json:"at"`
					Reason  string    `json:"reason"`
					Detail  string    `json:"detail"`
					Account string    `json:"account"`
					Source  string    `json:"source"`
					Value   string    `json:"value"`
				}
				var rows []row
				for _, it := range items {
					rows = append(rows, row{it.At.UTC(), it.Reason.String(), it.Detail, it.Account,
						fmt.Sprintf("%s/%d@%d", it.Source.Topic, it.Source.Partition, it.Source.Offset), string(it.Record.Value)})
				}
				return printRows(c.OutOrStdout(), o, rows, "AT\tREASON\tDETAIL\tACCOUNT\tSOURCE\tVALUE", func(r row) []string {
					return []string{r.At.Format(time.RFC3339), r.Reason, r.Detail, r.Account, r.Source, fmt.Sprintf("%.160q", r.Value)}
				})
			})
		}}
}

func dlqReplay(o *options, f *dlqFilter) *cobra.Command {
	return &cobra.Command{Use: "replay", Short: "Send what waits again: charged once, at the prices of its own time, if it can be by now", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c, o, func(cfg *config, store *journal.Postgres, items []quarantine.Item) error {
				type counts struct {
					Replayed int `json:"replayed"`
					Left     int `json:"left"` // no event could be read, or only its beginning is kept
				}
				var n counts
				var permits []journal.Replay
				var records []*kgo.Record
				for _, it := range items {
					if it.Identity == ([16]byte{}) || it.Truncated {
						n.Left++
						continue
					}
					permits = append(permits, journal.Replay{TopicID: it.Source.TopicID, Partition: it.Source.Partition, Offset: it.Source.Offset, Identity: it.Identity})
					records = append(records, it.Record)
				}
				if err := store.Authorize(c.Context(), author(), permits); err != nil {
					return err
				}
				cl, err := kgo.NewClient(append(cfg.kafka(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
				if err != nil {
					return err
				}
				defer cl.Close()
				if err := cl.ProduceSync(c.Context(), records...).FirstErr(); err != nil {
					return fmt.Errorf("send again: %w", err)
				}
				n.Replayed = len(records)
				return printRows(c.OutOrStdout(), o, []counts{n}, "REPLAYED\tLEFT", func(n counts) []string { return []string{strconv.Itoa(n.Replayed), strconv.Itoa(n.Left)} })
			})
		}}
}

func offsetsCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "offsets", Short: "Where each log stands, and going on after Kafka lost events"}
	c.AddCommand(&cobra.Command{Use: "show", Short: "Every log: position, generation, epoch, and why it is paused", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			logs, err := journal.NewPostgres(pool).Logs(c.Context())
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, logs, "TOPIC\tPARTITION\tNEXT\tGENERATION\tEPOCH\tPAUSED", func(l journal.LogState) []string {
				return []string{l.Topic, fmt.Sprint(l.Partition), fmt.Sprint(l.Next), fmt.Sprint(l.Generation), fmt.Sprint(l.Epoch), l.Paused}
			})
		}}, acceptLossCommand(o))
	return c
}

func acceptLossCommand(o *options) *cobra.Command {
	var topic, reason string
	var partition int32
	c := &cobra.Command{Use: "accept-loss", Short: "Let a paused log go on from the first event that Kafka still has", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if topic != topics.Usage && topic != topics.Guardrail || partition < 0 || reason == "" {
				return usageError{errors.New("name --topic (usage.v1 or guardrail.v1), --partition and --reason")}
			}
			cfg, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			start, err := topics.Start(c.Context(), cfg.kafka(), topic, partition)
			if err != nil {
				return err
			}
			lost, err := journal.NewPostgres(pool).AcceptLoss(c.Context(), topic, partition, start, author(), reason)
			if err == nil {
				fmt.Fprintf(c.ErrOrStderr(), "%d positions are journalled as lost\n", lost)
			}
			return err
		}}
	c.Flags().StringVar(&topic, "topic", "", "usage.v1 or guardrail.v1")
	c.Flags().Int32Var(&partition, "partition", -1, "the partition")
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}
