//go:build !synctests

package schedules

import (
	"bufio"
	"flag"
	"os"
	"os/exec"
	"testing"
)

// TestInVirtualTime runs this package's tests again with the build tag synctests, without which kgo's mutexes do not let virtual
// time pass. Without that tag nothing else is here. RUN says which, and -v does what it always does.
func TestInVirtualTime(t *testing.T) {
	t.Parallel()
	args := []string{"test", "-tags", "synctests", "-count=1", "-timeout", flag.Lookup("test.timeout").Value.String()}
	if run := os.Getenv("RUN"); run != "" {
		args = append(args, "-run", run)
	}
	if testing.Verbose() {
		args = append(args, "-v")
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
