package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alchemi/cockpit/internal/engine/chdb"
)

// childMark names, in a child's environment, the engine that it is to be.
const childMark = "COCKPIT_ENGINE"

// Child runs this process as an engine if it was started as one, and then returns true. A program that starts engines
// calls it first.
func Child() bool {
	name := os.Getenv(childMark)
	if name == "" {
		return false
	}
	if err := runChild(name, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func runChild(name string, args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	go func() { // our parent has gone when our input ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	switch name {
	case "kafka":
		port, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		cluster, address, err := Kafka{Data: args[0], Port: port}.Open()
		if err != nil {
			return err
		}
		defer cluster.Close()
		fmt.Println(address)
		<-ctx.Done()
		return nil
	}
	if name == "clickhouse" {
		return chdb.Serve(ctx, args[0], args[1], "127.0.0.1:"+args[2], func(address string) { fmt.Println(address) })
	}
	return fmt.Errorf("no engine is called %q", name)
}
