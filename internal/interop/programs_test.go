//go:build interop

package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
)

// background starts a program that ends with the test, and with us.
func background(t *testing.T, dir, log string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	out, err := os.Create(log)
	must(t, err)
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, out, out, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		out.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", filepath.Base(log), text[max(0, len(text)-3000):])
		}
	})
	return cmd
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := engine.FreePort()
	must(t, err)
	return port
}

// java runs one of Kafka's own classes.
func (in installed) java(t *testing.T, stdin, class string, args ...string) string {
	t.Helper()
	cmd := exec.Command("java", append([]string{"-cp", filepath.Join(in.jars, "*"), class}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", class, err, out)
	}
	return string(out)
}

// kafka runs a broker with its own controller, and returns its address.
func (in installed) kafka(t *testing.T, dir string) string {
	t.Helper()
	broker, controller := freePort(t), freePort(t)
	config := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[3]s/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
`, broker, controller, dir)
	path := filepath.Join(dir, "server.properties")
	must(t, os.WriteFile(path, []byte(config), 0o644))
	in.java(t, "", "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", path)
	background(t, dir, filepath.Join(dir, "kafka.log"), nil, "java", "-Xmx512m", "-cp", filepath.Join(in.jars, "*"), "kafka.Kafka", path)
	address := fmt.Sprintf("127.0.0.1:%d", broker)
	eventually(t, time.Minute, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
	return address
}

// cockpit is the program, running.
type cockpit struct {
	t         *testing.T
	bin, data string
	API       string
	Key       string `json:"service_key"`
}

func startCockpit(t *testing.T, dir, kafka string) *cockpit {
	t.Helper()
	c := &cockpit{t: t, bin: filepath.Join(dir, "cockpit"), data: filepath.Join(dir, "data")}
	run(t, "../..", "go", "build", "-o", c.bin, "./cmd/cockpit")
	background(t, dir, filepath.Join(dir, "cockpit.log"), nil, c.bin, "dev", "--data", c.data, "--listen", "127.0.0.1:0", "--demo=false", "--kafka", kafka)
	eventually(t, 2*time.Minute, func() error {
		text, err := os.ReadFile(filepath.Join(c.data, "endpoints.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, c)
	})
	// Calls with LiteLLM's master key are its default_user_id's, which is u-42 here.
	demo, err := os.ReadFile("../../deploy/demo.yaml")
	must(t, err)
	file := filepath.Join(dir, "directory.yaml")
	must(t, os.WriteFile(file, bytes.ReplaceAll(demo, []byte("gateway-grace"), []byte("default_user_id")), 0o644))
	c.do("apply", "-f", file)
	time.Sleep(time.Second) // within which what was applied takes effect
	return c
}

func (c *cockpit) do(args ...string) string {
	c.t.Helper()
	return run(c.t, "", c.bin, append(args, "--data", c.data)...)
}

// used is what a scope has used.
func (c *cockpit) used(section, kind, key string) string {
	c.t.Helper()
	for line := range strings.Lines(c.do("balances", "--json", "--account", "acme", "--section", section)) {
		var b struct{ Kind, Key, Used string }
		must(c.t, json.Unmarshal([]byte(line), &b))
		if b.Kind == kind && b.Key == key {
			return b.Used
		}
	}
	return ""
}

// litellm runs a proxy with a mock model whose calls are logged to the collector, and returns its address.
func (in installed) litellm(t *testing.T, dir string, c *cockpit, key string) (address, master string) {
	t.Helper()
	master = "sk-interop-0123456789abcdef0123456789abcdef"
	config := `model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: none, mock_response: "hello", input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}
litellm_settings:
  callbacks: ["generic_api"]
general_settings: {master_key: ` + master + `}
`
	path := filepath.Join(dir, "litellm.yaml")
	must(t, os.WriteFile(path, []byte(config), 0o644))
	port := freePort(t)
	background(t, dir, filepath.Join(dir, "litellm.log"), []string{"LITELLM_LOCAL_MODEL_COST_MAP=True", "GENERIC_LOGGER_ENDPOINT=" + c.API + "/v1/events/litellm",
		"GENERIC_LOGGER_HEADERS=Authorization=Bearer " + key, "NO_PROXY=*"},
		filepath.Join(filepath.Dir(in.python), "litellm"), "--config", path, "--port", fmt.Sprint(port), "--host", "127.0.0.1")
	address = fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(t, 2*time.Minute, func() error {
		res, err := http.Get(address + "/health/liveliness")
		if err == nil {
			res.Body.Close()
		}
		return err
	})
	return address, master
}

func post(url, key string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return errors.New(res.Status)
	}
	return nil
}
