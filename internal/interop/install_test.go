//go:build interop

package interop_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/deploy/interop"
	"github.com/alchemi/cockpit/internal/engine"
)

// installed is where the programs are.
type installed struct {
	dir, jars, python string
}

// install fetches the programs once, into the cache.
func install(t *testing.T) installed {
	t.Helper()
	cache, err := engine.CacheDir()
	must(t, err)
	h := sha256.New()
	must(t, fs.WalkDir(interop.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := interop.Files.ReadFile(path)
		h.Write(text)
		return err
	}))
	dir := filepath.Join(cache, "interop-"+hex.EncodeToString(h.Sum(nil)[:6]))
	in := installed{dir: dir, jars: filepath.Join(dir, "jars"), python: filepath.Join(dir, "venv", "bin", "python")}
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return in
	}
	must(t, os.RemoveAll(dir))
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.CopyFS(dir, interop.Files))
	run(t, dir, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory="+in.jars)
	run(t, dir, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
	run(t, dir, "python3", "-m", "venv", "venv")
	run(t, dir, in.python, "-m", "pip", "install", "-q", "-r", "requirements.txt")
	must(t, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644))
	return in
}

// librdkafka sends an event with librdkafka's own partitioner: by kcat, which is on the PATH or is installed by whoever may,
// else by librdkafka's Python client.
func (in installed) librdkafka(t *testing.T, kafka, event string) {
	t.Helper()
	if _, err := exec.LookPath("kcat"); err != nil && os.Geteuid() == 0 {
		if out, err := exec.Command("sh", "-c", "apt-get install -y -q kcat || (apt-get update -q && apt-get install -y -q kcat)").CombinedOutput(); err != nil {
			t.Logf("kcat can't be installed: %v\n%s", err, out[max(0, len(out)-300):])
		}
	}
	cmd := exec.Command("kcat", "-P", "-b", kafka, "-t", "usage.v1", "-k", "a-key-of-its-own", "-z", "snappy")
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Log("there is no kcat: librdkafka's Python client sends instead")
		cmd = exec.Command(in.python, filepath.Join(in.dir, "librdkafka.py"), kafka)
	}
	cmd.Stdin = strings.NewReader(event + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	begin := time.Now()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Logf("%s took %v", filepath.Base(name), took.Round(time.Second))
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until f gives no error.
func eventually(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("not within %v: %w", limit, err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
