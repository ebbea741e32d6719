package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres says how to run one.
type Postgres struct {
	Engines Engines
	Data    string // made by initdb where it is empty
	Logs    string
	Port    int // 0: one that is free
	// Scratch gives up durability for speed: tests only.
	Scratch bool
}

// Start runs Postgres and waits until it answers. It listens on 127.0.0.1 only; its superuser is postgres, its password
// is kept beside the data.
func (c Postgres) Start(ctx context.Context) (*Process, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.Data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		if err := c.initdb(ctx); err != nil {
			return nil, err
		}
	}
	port := c.Port
	if port == 0 {
		var err error
		if port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	args := []string{"-D", c.Data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "max_connections=200", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "wal_compression=off", "-c", "logging_collector=off"}
	if c.Scratch {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	}
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", port)
	for deadline := time.Now().Add(staleTimeout); ; {
		p, err := c.attempt(ctx, url, args)
		if err == nil || !c.stale() || time.Now().After(deadline) {
			return p, err
		}
		time.Sleep(staleRetry)
	}
}

// A Postgres that was killed with its parent takes a moment to go; until then its lock and its memory are in the way.
const (
	staleTimeout = 20 * time.Second
	staleRetry   = 100 * time.Millisecond
)

// stale says whether the last attempt failed for what a killed Postgres left.
func (c Postgres) stale() bool {
	text, err := os.ReadFile(filepath.Join(c.Logs, "postgres.log"))
	return err == nil && (bytes.Contains(text, []byte("lock file")) || bytes.Contains(text, []byte("shared memory")))
}

func (c Postgres) attempt(ctx context.Context, url string, args []string) (*Process, error) {
	cmd, err := c.command("postgres", args...)
	if err != nil {
		return nil, err
	}
	p, err := start("postgres", c.Logs, cmd, syscall.SIGINT)
	if err != nil {
		return nil, err
	}
	p.URL = url
	if err := c.wait(ctx, p); err != nil {
		_ = p.Stop()
		return nil, failed("postgres", c.Logs, err)
	}
	return p, nil
}

func (c Postgres) wait(ctx context.Context, p *Process) error {
	for {
		conn, err := pgx.Connect(ctx, p.URL)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.Exited():
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// initdb makes the cluster beside its place and moves it there, so that a crash in between leaves nothing half made.
func (c Postgres) initdb(ctx context.Context) error {
	making := c
	making.Data = c.Data + ".new"
	if err := os.RemoveAll(making.Data); err != nil {
		return err
	}
	if err := os.Mkdir(making.Data, 0o700); err != nil {
		return err
	}
	cmd, err := making.command("initdb", "-D", making.Data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if err != nil {
		return err
	}
	if c.Scratch {
		cmd.Args = append(cmd.Args, "--no-sync")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := os.Remove(c.Data); err != nil {
		return err
	}
	return os.Rename(making.Data, c.Data)
}

// command is one of Postgres' programs, run by somebody who is not root.
func (c Postgres) command(program string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(c.Engines.Postgres(), "bin", program), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Dir = c.Data
	err := unprivileged(cmd, func(uid, gid int) error {
		return filepath.WalkDir(c.Data, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		})
	})
	return cmd, err
}

// FreePort is a port of the loopback address that nobody listens on just now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
