package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka says how to run a broker in this process or in a child.
type Kafka struct {
	Data string // "" keeps everything in memory
	Logs string
	Port int // 0: one that is free
}

// Start runs the broker in a child of this program.
func (c Kafka) Start(ctx context.Context) (*Process, error) {
	return startSelf(ctx, "kafka", c.Logs, c.Data, strconv.Itoa(c.Port))
}

// Open runs the broker in this process and returns its address.
func (c Kafka) Open() (*kfake.Cluster, string, error) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
		"log.retention.ms": "604800000", "group.consumer.session.timeout.ms": "10000", "message.max.bytes": "16777216"}),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			return net.Listen(network, fmt.Sprintf("127.0.0.1:%d", c.Port))
		})}
	if c.Data != "" {
		if err := os.MkdirAll(c.Data, 0o755); err != nil {
			return nil, "", err
		}
		// What it can't write it answers with an unknown error, and only its log says why.
		opts = append(opts, kfake.DataDir(c.Data), kfake.SyncWrites(), kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelWarn)))
		if err := found(c.Data, opts); err != nil {
			return nil, "", err
		}
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, "", fmt.Errorf("start Kafka: %w", err)
	}
	return cluster, cluster.ListenAddrs()[0], nil
}

// found makes a new broker's data directory. kfake writes its meta.json, without which it takes a directory for empty, only
// when it is closed in order; so that a later kill loses nothing, it is opened and closed once.
func found(dir string, opts []kfake.Opt) error {
	if _, err := os.Stat(filepath.Join(dir, "meta.json")); err == nil {
		return nil
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	cluster.Close()
	return nil
}
