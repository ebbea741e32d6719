package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// authority makes certificates for 127.0.0.1, and keeps its own and theirs as files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca")
	return a
}

// issue writes name.crt and name.key; the first certificate is the authority's own.
func (a *authority) issue(t *testing.T, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.made++
	template := &x509.Certificate{SerialNumber: big.NewInt(a.made), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server is a broker's side of TLS, which wants a client's certificate where asked.
func (a *authority) server(t *testing.T, clients tls.ClientAuthType) *tls.Config {
	t.Helper()
	a.issue(t, "server")
	pair, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: pool, MinVersion: tls.VersionTLS12}
}

// reaches makes the topics of a broker with the settings of the environment, as serve does.
func reaches(t *testing.T, broker string, env map[string]string) error {
	t.Helper()
	t.Setenv("COCKPIT_KAFKA_BROKERS", broker)
	for name, value := range env {
		t.Setenv(name, value)
	}
	cfg, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	cl, err := kgo.NewClient(append(cfg.kafka(), kgo.WithHooks(&signIn{say: func(text string) { said <- text }}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := topics.Ensure(ctx, kadm.NewClient(cl), 3)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case text := <-said:
		return errors.New(text)
	}
}

func TestKafkaIsReachedByTLSAndSASL(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	ca.issue(t, "client")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	by := func(mechanism, secret string) map[string]string {
		return map[string]string{"COCKPIT_KAFKA_SASL_MECHANISM": mechanism, "COCKPIT_KAFKA_SASL_USER": "me", "COCKPIT_KAFKA_SASL_PASSWORD": secret}
	}
	trusting := func(a *authority, more map[string]string) map[string]string {
		env := map[string]string{"COCKPIT_KAFKA_TLS": "true", "COCKPIT_KAFKA_TLS_CA_FILE": a.file("ca.crt")}
		for name, value := range more {
			env[name] = value
		}
		return env
	}
	withFile := by("SCRAM-SHA-512", "")
	withFile["COCKPIT_KAFKA_SASL_PASSWORD_FILE"] = password
	certificate := map[string]string{"COCKPIT_KAFKA_TLS_CERT_FILE": ca.file("client.crt"), "COCKPIT_KAFKA_TLS_KEY_FILE": ca.file("client.key")}
	noTLS, anyClient, knownClient := tls.ClientAuthType(-1), tls.NoClientCert, tls.RequireAndVerifyClientCert
	for name, c := range map[string]struct {
		clients tls.ClientAuthType
		sasl    string
		env     map[string]string
		refused string
	}{
		"PLAIN":                         {noTLS, "PLAIN", by("PLAIN", "s3cret"), ""},
		"SCRAM-SHA-256 and TLS":         {anyClient, "SCRAM-SHA-256", trusting(ca, by("SCRAM-SHA-256", "s3cret")), ""},
		"SCRAM-SHA-512 by a file":       {anyClient, "SCRAM-SHA-512", trusting(ca, withFile), ""},
		"a client's certificate":        {knownClient, "", trusting(ca, certificate), ""},
		"a wrong password, PLAIN":       {noTLS, "PLAIN", by("PLAIN", "wrong"), "check COCKPIT_KAFKA_SASL_USER and its password"},
		"a wrong password, SCRAM":       {anyClient, "SCRAM-SHA-256", trusting(ca, by("SCRAM-SHA-256", "wrong")), "check COCKPIT_KAFKA_SASL_USER and its password"},
		"an authority that is not ours": {anyClient, "", trusting(stranger, nil), "certificate signed by unknown authority"},
		"no client's certificate":       {knownClient, "", trusting(ca, nil), "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := []kfake.Opt{kfake.NumBrokers(1)}
			if c.clients != noTLS {
				opts = append(opts, kfake.TLS(ca.server(t, c.clients)))
			}
			if c.sasl != "" {
				opts = append(opts, kfake.EnableSASL(), kfake.Superuser(c.sasl, "me", "s3cret"))
			}
			cluster, err := kfake.NewCluster(opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			err = reaches(t, cluster.ListenAddrs()[0], c.env)
			if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v, want %q", err, c.refused)
			}
		})
	}
}

func TestMistakesOfKafkasSecurityAreNamedAtOnce(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want []string
	}{
		{map[string]string{"COCKPIT_KAFKA_TLS_CA_FILE": "/no/such", "COCKPIT_KAFKA_SASL_USER": "me"}, []string{"COCKPIT_KAFKA_BROKERS", "COCKPIT_KAFKA_TLS is not true", "COCKPIT_KAFKA_SASL_MECHANISM is not"}},
		{map[string]string{"COCKPIT_KAFKA_TLS": "true", "COCKPIT_KAFKA_TLS_CA_FILE": "/no/such", "COCKPIT_KAFKA_TLS_CERT_FILE": "x", "COCKPIT_KAFKA_SASL_MECHANISM": "GSSAPI"},
			[]string{"COCKPIT_KAFKA_TLS_CA_FILE", "belong together", "GSSAPI", "COCKPIT_KAFKA_SASL_USER", "one of COCKPIT_KAFKA_SASL_PASSWORD"}},
		{map[string]string{"COCKPIT_KAFKA_SASL_MECHANISM": "PLAIN", "COCKPIT_KAFKA_SASL_PASSWORD": "hunter2", "COCKPIT_KAFKA_SASL_PASSWORD_FILE": "/no/such"}, []string{"one of", "no such file"}},
	} {
		for name, value := range c.env {
			t.Setenv(name, value)
		}
		_, err := loadConfig()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: nothing is said of %q: %v", c.env, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
		for name := range c.env {
			os.Unsetenv(name)
		}
	}
}
