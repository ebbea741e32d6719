package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

// asProgram makes this test binary the program itself.
const asProgram = "COCKPIT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	testkit.Main(m)
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// running is a cockpit dev.
type running struct {
	cmd *exec.Cmd
	out *bytes.Buffer
	endpoints
}

// startDev starts a dev on data, with settings, and waits until it is ready.
func startDev(t *testing.T, data string, settings ...string) *running {
	t.Helper()
	r := &running{cmd: command(t, "dev", "--data", data, "--listen", "127.0.0.1:0"), out: &bytes.Buffer{}}
	r.cmd.Env = append(r.cmd.Env, settings...)
	r.cmd.Stderr = r.out
	stdout, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	ready := make(chan bool, 1)
	go func() {
		var seen bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := stdout.Read(buf)
			seen.Write(buf[:n])
			if bytes.HasPrefix(seen.Bytes(), []byte("ready ")) && bytes.Contains(seen.Bytes(), []byte("\n")) {
				select {
				case ready <- true:
				default:
				}
			}
			if err != nil {
				close(ready)
				return
			}
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatalf("dev ended: %s", r.out)
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("dev was not ready: %s", r.out)
	}
	text, err := os.ReadFile(filepath.Join(data, endpointsFile))
	if err == nil {
		err = json.Unmarshal(text, &r.endpoints)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// engines are the ids of the stores' processes, by what their command line has.
func (r *running) engines(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range dirs {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(r.cmd.Process.Pid) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		for _, name := range []string{"postgres", "kafka", "clickhouse"} {
			if bytes.Contains(line, []byte("/"+name+"\x00")) && found[name] == 0 {
				found[name] = pid
			}
		}
	}
	return found
}

// send posts events with ids of their own until ctx ends, and counts those that were accepted. What was refused or not
// answered is not sent again.
func (r *running) send(ctx context.Context, prefix string, accepted *atomic.Int64) {
	for n := 0; ctx.Err() == nil; n++ {
		var batch []json.RawMessage
		for i := range 20 {
			batch = append(batch, json.RawMessage(fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d-%d","source":"alchemi-web","type":"cockpit.usage.v1","time":%q,
				"data":{"account":"acme","section":"copilot","user":"u-42","model":"gpt-5","quantities":{"input_tokens":%d}}}`, prefix, n, i, time.Now().UTC().Format(time.RFC3339Nano), i)))
		}
		body, _ := json.Marshal(batch)
		req, _ := http.NewRequest(http.MethodPost, r.API+"/v1/events", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+r.ServiceKey)
		req.Header.Set("Content-Type", "application/cloudevents-batch+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var a struct{ Accepted int64 }
		if res.StatusCode == http.StatusAccepted && json.NewDecoder(res.Body).Decode(&a) == nil {
			accepted.Add(a.Accepted)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		time.Sleep(5 * time.Millisecond)
	}
}

// Every store is killed while events flow, and then the program itself. What was accepted is charged, once, and the books
// verify, with nothing sent again.
func TestKilledAnywhereNothingIsLost(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dev := startDev(t, data)
	var accepted atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	go dev.send(ctx, "first", &accepted)
	time.Sleep(time.Second)
	for _, name := range []string{"postgres", "kafka", "clickhouse"} {
		pid := dev.engines(t)[name]
		if pid == 0 {
			t.Fatalf("no %s among the program's children", name)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		before := accepted.Load()
		for deadline := time.Now().Add(time.Minute); accepted.Load() < before+100; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after %s was killed nothing more was accepted: %s", name, dev.out)
			}
		}
	}
	_ = dev.cmd.Process.Kill()
	cancel()
	_ = dev.cmd.Wait()
	dev = startDev(t, data)
	ctx, cancel = context.WithCancel(t.Context())
	go dev.send(ctx, "second", &accepted)
	time.Sleep(time.Second)
	cancel()
	dev.settled(t, accepted.Load())
	out, err := command(t, "verify", "--data", data, "--json").Output()
	if err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
	if got := bytes.Count(out, []byte(`"ok":true`)); got != 7 {
		t.Fatalf("%s", out)
	}
	_ = dev.cmd.Process.Signal(os.Interrupt)
	if err := dev.cmd.Wait(); err != nil {
		t.Fatalf("Ctrl-C: %v\n%s", err, dev.out)
	}
}

// settled waits until everything that was accepted is charged.
func (r *running) settled(t *testing.T, accepted int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var charged int64
	for deadline := time.Now().Add(time.Minute); charged < accepted; time.Sleep(100 * time.Millisecond) {
		if err := conn.QueryRow(t.Context(), `SELECT coalesce(sum(charged), 0) FROM journal`).Scan(&charged); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d accepted events were charged", charged, accepted)
		}
	}
}
