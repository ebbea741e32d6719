package main

import (
	"crypto/tls"
	"encoding/base64"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

// Postgres and ClickHouse are reached by TLS as their URLs say, and a server that a stranger vouches for is not.
func TestDatabasesAreReachedByTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	database := testkit.Database(t)
	postgresByTLS(t, database, ca)
	proxied, err := url.Parse(testkit.ClickHouse(t))
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: proxied.Host}))
	front.TLS = ca.server(t, tls.NoClientCert)
	front.StartTLS()
	t.Cleanup(front.Close)
	secure := (&url.URL{Scheme: "https", User: proxied.User, Host: front.Listener.Addr().String(), Path: "/other"}).String()
	for _, c := range []struct {
		postgres, clickhouse *authority
		code                 int
		says                 string
	}{
		{ca, ca, 0, "ClickHouse: up to date"},
		{stranger, ca, 1, "failed to verify certificate"},
		{ca, stranger, 1, "failed to verify certificate"},
	} {
		cmd := command(t, "migrate", "--data", t.TempDir())
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+c.clickhouse.file("ca.crt"), "COCKPIT_CLICKHOUSE_URL="+secure,
			"COCKPIT_POSTGRES_URL="+withQuery(t, database, url.Values{"sslmode": {"verify-full"}, "sslrootcert": {c.postgres.file("ca.crt")}}))
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("exit %d, want %d and %q\n%s", cmd.ProcessState.ExitCode(), c.code, c.says, out)
		}
	}
}

func withQuery(t *testing.T, address string, more url.Values) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, values := range more {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// postgresByTLS gives the server of this test process a certificate. The server writes the files itself, since it runs under
// another user than tests do as root, and takes no key that others may read.
func postgresByTLS(t *testing.T, database string, ca *authority) {
	t.Helper()
	ca.issue(t, "postgres")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, name := range []string{"crt", "key"} {
		text, err := os.ReadFile(ca.file("postgres." + name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; umask 077; echo `+base64.StdEncoding.EncodeToString(text)+` | base64 -d > server.`+name+`'`); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{`ALTER SYSTEM SET ssl = on`, `SELECT pg_reload_conf()`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for {
		encrypted, err := pgx.Connect(t.Context(), withQuery(t, database, url.Values{"sslmode": {"require"}}))
		if err == nil {
			_ = encrypted.Close(t.Context())
			return
		}
		if t.Context().Err() != nil || !strings.Contains(err.Error(), "refused TLS") {
			t.Fatal(err)
		}
	}
}
