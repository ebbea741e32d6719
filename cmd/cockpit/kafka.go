package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// saslMechanisms are the ways to sign in to Kafka with a name and a password.
var saslMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// kafka is how every client of the program reaches Kafka.
func (c *config) kafka() []kgo.Opt {
	opts := append([]kgo.Opt{kgo.SeedBrokers(c.KafkaBrokers...)}, c.kafkaSecurity...)
	if c.KafkaSASL != "" {
		opts = append(opts, kgo.WithHooks(&signIn{say: func(text string) { c.logger().Error(text) }}))
	}
	return opts
}

// signIn says once why nothing goes on when a broker hangs up instead of refusing a password: the client sees but an end of
// the connection, and tries again.
type signIn struct {
	say  func(string)
	once sync.Once
}

var _ kgo.HookBrokerRead = (*signIn)(nil)

// OnBrokerRead looks for answers to SASL requests that failed.
func (s *signIn) OnBrokerRead(b kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil && (key == kmsg.SASLHandshake.Int16() || key == kmsg.SASLAuthenticate.Int16()) {
		s.once.Do(func() {
			s.say(fmt.Sprintf("Kafka at %s:%d hung up while signing in (%v): check COCKPIT_KAFKA_SASL_USER and its password", b.Host, b.Port, err))
		})
	}
}

// secureKafka makes the options for TLS and SASL, and names every mistake in their settings.
func (c *config) secureKafka(check func(ok bool, format string, args ...any)) {
	secured := c.KafkaTLS || c.KafkaCAFile != "" || c.KafkaCertFile != "" || c.KafkaKeyFile != "" || c.KafkaSASL != "" || c.KafkaUser != "" ||
		c.KafkaPassword != "" || c.KafkaPasswordFile != ""
	check(!secured || len(c.KafkaBrokers) > 0, "COCKPIT_KAFKA_BROKERS is not set, and the embedded Kafka has neither TLS nor SASL")
	if c.KafkaTLS {
		c.kafkaSecurity = append(c.kafkaSecurity, kgo.DialTLSConfig(c.kafkaTLS(check)))
	} else {
		check(c.KafkaCAFile+c.KafkaCertFile+c.KafkaKeyFile == "", "COCKPIT_KAFKA_TLS_… files are set, and COCKPIT_KAFKA_TLS is not true")
	}
	if c.KafkaSASL == "" {
		check(c.KafkaUser+c.KafkaPassword+c.KafkaPasswordFile == "", "COCKPIT_KAFKA_SASL_… are set, and COCKPIT_KAFKA_SASL_MECHANISM is not")
		return
	}
	check(slices.Contains(saslMechanisms, c.KafkaSASL), "COCKPIT_KAFKA_SASL_MECHANISM is %q, and must be one of %s", c.KafkaSASL, strings.Join(saslMechanisms, ", "))
	check(c.KafkaUser != "", "COCKPIT_KAFKA_SASL_USER is not set")
	check((c.KafkaPassword == "") != (c.KafkaPasswordFile == ""), "one of COCKPIT_KAFKA_SASL_PASSWORD and COCKPIT_KAFKA_SASL_PASSWORD_FILE must be set")
	password := c.KafkaPassword
	if c.KafkaPasswordFile != "" {
		text, err := os.ReadFile(c.KafkaPasswordFile)
		check(err == nil, "COCKPIT_KAFKA_SASL_PASSWORD_FILE: %v", err)
		password = strings.TrimRight(string(text), "\r\n")
		check(err != nil || password != "", "COCKPIT_KAFKA_SASL_PASSWORD_FILE: %s is empty", c.KafkaPasswordFile)
	}
	c.kafkaSecurity = append(c.kafkaSecurity, kgo.SASL(c.mechanism(password)))
}

func (c *config) mechanism(password string) sasl.Mechanism {
	switch c.KafkaSASL {
	case "SCRAM-SHA-256":
		return scram.Auth{User: c.KafkaUser, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: c.KafkaUser, Pass: password}.AsSha512Mechanism()
	}
	return plain.Auth{User: c.KafkaUser, Pass: password}.AsMechanism()
}

// kafkaTLS trusts the system's authorities, or those of the file alone, and shows a certificate where there is one.
func (c *config) kafkaTLS(check func(ok bool, format string, args ...any)) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.KafkaCAFile != "" {
		text, err := os.ReadFile(c.KafkaCAFile)
		check(err == nil, "COCKPIT_KAFKA_TLS_CA_FILE: %v", err)
		t.RootCAs = x509.NewCertPool()
		check(err != nil || t.RootCAs.AppendCertsFromPEM(text), "COCKPIT_KAFKA_TLS_CA_FILE: %s has no certificate in PEM", c.KafkaCAFile)
	}
	both := c.KafkaCertFile != "" && c.KafkaKeyFile != ""
	check(both || c.KafkaCertFile+c.KafkaKeyFile == "", "COCKPIT_KAFKA_TLS_CERT_FILE and COCKPIT_KAFKA_TLS_KEY_FILE belong together")
	if both {
		certificate, err := tls.LoadX509KeyPair(c.KafkaCertFile, c.KafkaKeyFile)
		check(err == nil, "COCKPIT_KAFKA_TLS_CERT_FILE and COCKPIT_KAFKA_TLS_KEY_FILE: %v", err)
		t.Certificates = []tls.Certificate{certificate}
	}
	return t
}
