package testkit

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

// enginesSetting decides where stores run: local, containers, or, where it is empty, as Docker answers.
const enginesSetting = "COCKPIT_TEST_ENGINES"

// dockerTimeout is how long Docker may take to answer. One that hangs is none.
const dockerTimeout = 3 * time.Second

// inContainers says, once a test process, whether its stores run in containers.
var inContainers = sync.OnceValues(func() (bool, error) { return choose(os.Getenv(enginesSetting), dockerAnswers) })

// choose takes containers where Docker answers, and else local engines. Who asks for containers gets them or an error, and
// never something else.
func choose(setting string, docker func() error) (containers bool, err error) {
	switch setting {
	case "local":
		return false, nil
	case "":
		return docker() == nil, nil
	case "containers":
		if err := docker(); err != nil {
			return false, fmt.Errorf("%s=containers, and Docker does not answer: %w", enginesSetting, err)
		}
		return true, nil
	}
	return false, fmt.Errorf("%s is %q, and must be local, containers or empty", enginesSetting, setting)
}

// dockerAnswers asks the daemon, which testcontainers finds by DOCKER_HOST, contexts and sockets.
func dockerAnswers() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTimeout)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		provider, err := testcontainers.NewDockerProvider()
		if err == nil {
			err = provider.Health(ctx)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
