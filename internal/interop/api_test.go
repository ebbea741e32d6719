//go:build interop

package interop_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// roles are who the API is called as. The first four have something to do there.
var roles = []string{"super_admin", "account_admin:acme", "account_viewer:acme", "section_admin:acme/copilot", "end_user:acme", "product"}

// checks are what an answer must be, whatever was asked: no 5xx, a status, headers and a body that the document has.
const checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance"

var tried = regexp.MustCompile(`(\d+) generated, (\d+) passed`)

// Schemathesis makes requests out of the document, good and bad ones, of every operation, as each role.
func TestSchemathesis(t *testing.T) {
	in := install(t)
	dir := t.TempDir()
	c := startCockpit(t, dir, "embedded")
	for _, as := range roles {
		token := strings.TrimSpace(c.do("token", "--as", as))
		text, err := exec.Command(filepath.Join(filepath.Dir(in.python), "schemathesis"), "run", c.API+"/openapi.json", "-H", "Authorization: Bearer "+token,
			"--checks", checks, "--phases", "examples,fuzzing", "--max-examples", "25", "--max-time", "30", "--seed", "1", "--warnings", "off", "--no-color").CombinedOutput()
		out := string(text)
		counts := tried.FindStringSubmatch(out)
		if err != nil || counts == nil || counts[1] != counts[2] {
			t.Errorf("as %s: %v\n%s", as, err, out[max(0, len(out)-8000):])
			continue
		}
		t.Logf("as %s: %s requests, all answered as described", as, counts[1])
	}
	logs, err := os.ReadFile(filepath.Join(dir, "cockpit.log"))
	must(t, err)
	if at := bytes.Index(logs, []byte("BUG:")); at >= 0 {
		t.Errorf("the program logged a bug of its own: %s", logs[at:min(len(logs), at+1000)])
	}
}
