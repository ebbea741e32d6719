//go:build linux

package faults

import (
	"bytes"
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
)

var scratch string

func TestMain(m *testing.M) {
	if engine.Child() {
		return
	}
	if code, again := AsRoot(); again {
		os.Exit(code)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "cockpit-faults-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if code == 0 {
		_ = os.RemoveAll(scratch)
	}
	os.Exit(code)
}

var program = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return Build(ctx, scratch)
})

// The short matrix: the most telling faults, once each, with a seed of the moment.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, c := range Cases() {
		if !c.Short {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			bin, err := program()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			r := c.Run(t.Context(), bin, scratch, uint64(time.Now().UnixNano()), Scale{}, &out)
			t.Logf("%s", &out)
			if !r.Green {
				t.Fatalf("seed %d: %s (%s)", r.Seed, r.Error, r.Dir)
			}
		})
	}
}
