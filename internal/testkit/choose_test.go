package testkit

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestChoose(t *testing.T) {
	t.Parallel()
	gone := errors.New("no daemon")
	for _, c := range []struct {
		setting    string
		docker     error
		containers bool
		says       string
	}{
		{"", nil, true, ""}, {"", gone, false, ""}, {"local", nil, false, ""}, {"local", gone, false, ""},
		{"containers", nil, true, ""}, {"containers", gone, false, "no daemon"}, {"podman", nil, false, "podman"},
	} {
		got, err := choose(c.setting, func() error { return c.docker })
		if got != c.containers || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %t, %v", c, got, err)
		}
	}
}

// What is done with a store is the same wherever it runs.
func TestADatabaseIsMigratedAndItsOwn(t *testing.T) {
	t.Parallel()
	first, second := Database(t), Database(t)
	if first == second {
		t.Fatal("two tests have one database")
	}
	conn, err := pgx.Connect(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var roles, secrets int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_roles WHERE rolname IN ('cockpit_app', 'cockpit_metering')), (SELECT count(*) FROM deployment)`).Scan(&roles, &secrets); err != nil || roles != 2 || secrets != 1 {
		t.Fatalf("%d roles, %d deployments, %v", roles, secrets, err)
	}
}

// Who asks for containers where no Docker answers is told so: the test fails, and nothing else runs instead.
func TestContainersWithoutDockerFail(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run=^TestADatabaseIsMigratedAndItsOwn$")
	c.Env = append(os.Environ(), enginesSetting+"=containers", "DOCKER_HOST=tcp://127.0.0.1:1")
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Docker does not answer") || strings.Contains(string(out), "SKIP") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestKafkaKnowsItsAddress(t *testing.T) {
	t.Parallel()
	s := kafkaSettings("docker.example:41234")
	if s["KAFKA_ADVERTISED_LISTENERS"] != "PLAINTEXT://docker.example:41234" || !strings.HasPrefix(s["KAFKA_LISTENERS"], "PLAINTEXT://:9092,") {
		t.Errorf("%v", s)
	}
}
