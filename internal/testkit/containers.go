package testkit

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// The images of the stores.
const (
	postgresImage   = "postgres:18"
	clickhouseImage = "clickhouse/clickhouse-server:25.8"
	kafkaImage      = "apache/kafka:4.1.0"
)

// password is of containers that nobody but this machine reaches.
const password = "testkit"

// started ends the containers of this process; testcontainers' own reaper ends those of a process that was killed.
var started struct {
	sync.Mutex
	stop []func()
}

// start runs a container until the process ends, and returns the address of its port.
func start(ctx context.Context, image, port string, opts ...testcontainers.ContainerCustomizer) (address string, stop func(), err error) {
	c, err := testcontainers.Run(ctx, image, append(opts, testcontainers.WithExposedPorts(port))...)
	stop = sync.OnceFunc(func() { _ = testcontainers.TerminateContainer(c) })
	started.Lock()
	started.stop = append(started.stop, stop)
	started.Unlock()
	if err != nil {
		return "", stop, fmt.Errorf("run %s: %w", image, err)
	}
	address, err = c.PortEndpoint(ctx, port, "")
	return address, stop, err
}

func stopContainers() {
	for _, stop := range started.stop {
		stop()
	}
}

// postgresContainer returns the URL of its database postgres.
func postgresContainer(ctx context.Context) (string, error) {
	address, _, err := start(ctx, postgresImage, "5432/tcp", testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": password}),
		testcontainers.WithCmdArgs("-c", "max_connections=200", "-c", "fsync=off", "-c", "full_page_writes=off"),
		// It starts once to make its data, and then for good.
		testcontainers.WithWaitStrategyAndDeadline(startTimeout, wait.ForLog("database system is ready to accept connections").WithOccurrence(2)))
	return "postgres://postgres:" + password + "@" + address + "/postgres", err
}

func clickhouseContainer(ctx context.Context) (string, error) {
	address, _, err := start(ctx, clickhouseImage, "8123/tcp", testcontainers.WithEnv(map[string]string{"CLICKHOUSE_USER": "testkit", "CLICKHOUSE_PASSWORD": password}),
		testcontainers.WithWaitStrategyAndDeadline(startTimeout, wait.ForHTTP("/ping").WithPort("8123/tcp")))
	return "http://testkit:" + password + "@" + address, err
}

// kafkaContainer runs a broker of one node. It must know its own address from outside before it starts, so that the port is
// chosen here.
func kafkaContainer(ctx context.Context) (address string, stop func(), err error) {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", func() {}, err
	}
	host, err := provider.DaemonHost(ctx)
	if err != nil {
		return "", func() {}, err
	}
	free, err := engine.FreePort()
	if err != nil {
		return "", func() {}, err
	}
	port := strconv.Itoa(free)
	address = net.JoinHostPort(host, port)
	_, stop, err = start(ctx, kafkaImage, "9092/tcp", testcontainers.WithEnv(kafkaSettings(address)),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort("9092/tcp"): {{HostPort: port}}}
		}),
		testcontainers.WithWaitStrategyAndDeadline(startTimeout, wait.ForLog("Kafka Server started")))
	return address, stop, err
}

// kafkaSettings are those of one node that is broker and controller, as it is reached at the address.
func kafkaSettings(address string) map[string]string {
	return map[string]string{
		"KAFKA_NODE_ID": "1", "KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
		"KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://" + address,
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0", "KAFKA_MESSAGE_MAX_BYTES": "16777216",
	}
}
