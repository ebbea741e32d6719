package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// config is every setting: defaults, then the environment.
type config struct {
	KafkaBrokers       []string      `env:"COCKPIT_KAFKA_BROKERS" doc:"seed brokers, host:port, separated by commas; empty: dev runs its own"`
	KafkaTLS           bool          `env:"COCKPIT_KAFKA_TLS" envDefault:"false" doc:"true: TLS to the brokers"`
	KafkaCAFile        string        `env:"COCKPIT_KAFKA_TLS_CA_FILE" doc:"PEM file of the authorities to trust; empty: the system's"`
	KafkaCertFile      string        `env:"COCKPIT_KAFKA_TLS_CERT_FILE" doc:"PEM file of a client certificate, with COCKPIT_KAFKA_TLS_KEY_FILE"`
	KafkaKeyFile       string        `env:"COCKPIT_KAFKA_TLS_KEY_FILE" doc:"PEM file of its key"`
	KafkaSASL          string        `env:"COCKPIT_KAFKA_SASL_MECHANISM" doc:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no SASL"`
	KafkaUser          string        `env:"COCKPIT_KAFKA_SASL_USER" doc:"who signs in to Kafka"`
	KafkaPassword      string        `env:"COCKPIT_KAFKA_SASL_PASSWORD" doc:"its password" secret:"whole"`
	KafkaPasswordFile  string        `env:"COCKPIT_KAFKA_SASL_PASSWORD_FILE" doc:"a file with the password, instead"`
	PostgresURL        string        `env:"COCKPIT_POSTGRES_URL" doc:"postgres://…; empty: dev runs its own" secret:"password"`
	ClickHouseURL      string        `env:"COCKPIT_CLICKHOUSE_URL" doc:"clickhouse:// or http://…; empty: dev runs its own" secret:"password"`
	Listen             string        `env:"COCKPIT_LISTEN" envDefault:"127.0.0.1:8080" doc:"address of the HTTP server"`
	Partitions         int32         `env:"COCKPIT_PARTITIONS" envDefault:"6" doc:"of usage.v1 and guardrail.v1, when they are made"`
	Window             time.Duration `env:"COCKPIT_WINDOW" envDefault:"24h" doc:"how late an event may be, by Kafka's clock; identities are remembered as long"`
	TooEarly           time.Duration `env:"COCKPIT_TOO_EARLY" envDefault:"10m" doc:"how far ahead of Kafka's clock an event's time may be"`
	WindowEvents       int           `env:"COCKPIT_WINDOW_EVENTS" envDefault:"50000000" doc:"identities that a partition's window may hold; at the limit its worker pauses"`
	Scratch            string        `env:"COCKPIT_SCRATCH" doc:"directory for the past hours of dedupe windows, 16 bytes an identity; empty: the system's for temporary files"`
	BatchEvents        int           `env:"COCKPIT_BATCH_EVENTS" envDefault:"16384" doc:"the most events of one journal row"`
	Refresh            time.Duration `env:"COCKPIT_DIRECTORY_REFRESH" envDefault:"250ms" doc:"how often workers look for changes of the directory"`
	KeepEvents         int           `env:"COCKPIT_KEEP_EVENTS_DAYS" envDefault:"0" doc:"days for which ClickHouse keeps events; 0: for ever"`
	KeepQuarters       int           `env:"COCKPIT_KEEP_QUARTERS_DAYS" envDefault:"0" doc:"days for which ClickHouse keeps rollups by quarter of an hour; 0: for ever"`
	KeepDays           int           `env:"COCKPIT_KEEP_DAYS_DAYS" envDefault:"0" doc:"days for which ClickHouse keeps rollups by day; 0: for ever"`
	KeysFile           string        `env:"COCKPIT_KEYS_FILE" doc:"the program's own keys (cockpit secrets init); empty: dev makes one in its data directory"`
	PublicURL          string        `env:"COCKPIT_PUBLIC_URL" doc:"where browsers reach the cockpit, https://host; empty: dev takes its own address"`
	Issuer             string        `env:"COCKPIT_ISSUER" doc:"the OpenID provider that people sign in at; empty: dev runs its own"`
	ClientID           string        `env:"COCKPIT_CLIENT_ID" doc:"the cockpit's application at the issuer"`
	ClientSecret       string        `env:"COCKPIT_CLIENT_SECRET" doc:"its secret; empty: a public client, and opaque tokens are refused" secret:"whole"`
	ClientSecretFile   string        `env:"COCKPIT_CLIENT_SECRET_FILE" doc:"a file with the secret, instead"`
	ProjectID          string        `env:"COCKPIT_PROJECT_ID" doc:"the issuer's project whose roles count; must be in a token's audience"`
	Organization       string        `env:"COCKPIT_PLATFORM_ORGANIZATION" doc:"the issuer's organization whose super admins are the platform's; empty: there are none"`
	ZitadelKeyFile     string        `env:"COCKPIT_ZITADEL_KEY_FILE" doc:"JSON key of a service user, by which ZITADEL is kept in step (docs/operations/zitadel.md); empty: it is not"`
	ZitadelURL         string        `env:"COCKPIT_ZITADEL_URL" doc:"of ZITADEL's API; empty: the issuer"`
	ZitadelInstance    string        `env:"COCKPIT_ZITADEL_INSTANCE" doc:"id of the instance whose events are taken; empty: of any that knows the secret"`
	ZitadelSecrets     []string      `env:"COCKPIT_ZITADEL_WEBHOOK_SECRET" doc:"signing keys of ZITADEL's targets, separated by commas, so that they can be changed; empty: no events are taken" secret:"whole"`
	ZitadelSecretFile  string        `env:"COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE" doc:"a file with them, one a line, instead"`
	Requests           int           `env:"COCKPIT_API_REQUESTS" envDefault:"50" doc:"requests a second that one caller of the API may make, twice that at once; 0: no limit"`
	Origins            []string      `env:"COCKPIT_API_ORIGINS" doc:"origins of pages elsewhere that may call the API (https://host), besides those of registered clients"`
	AuditWebhookURL    string        `env:"COCKPIT_AUDIT_WEBHOOK_URL" doc:"where sealed entries of the audit log are sent, beside the topic audit.v1; empty: nowhere"`
	AuditWebhookSecret string        `env:"COCKPIT_AUDIT_WEBHOOK_SECRET" doc:"signs them (Standard Webhooks): whsec_ and 24 bytes or more in base64" secret:"whole"`
	PrivateHosts       []string      `env:"COCKPIT_OUTGOING_PRIVATE_HOSTS" doc:"hosts, name or name:port, that webhooks may reach though they are not globally routable, also by plain HTTP"`
	ExportDir          string        `env:"COCKPIT_EXPORT_DIR" doc:"where closed accounts are exported to before they are erased; empty: neither is done. by a process that runs api and rollups"`
	LogLevel           string        `env:"COCKPIT_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`
	LogFormat          string        `env:"COCKPIT_LOG_FORMAT" envDefault:"text" doc:"text or json"`

	kafkaSecurity []kgo.Opt // made of the settings above
}

// loadConfig reads the environment and names all mistakes at once.
func loadConfig() (*config, error) {
	c := &config{}
	if err := env.Parse(c); err != nil {
		return nil, usageError{fmt.Errorf("configuration: %w", err)}
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for name, value := range map[string]string{"COCKPIT_POSTGRES_URL": c.PostgresURL, "COCKPIT_CLICKHOUSE_URL": c.ClickHouseURL} {
		u, err := url.Parse(value)
		check(value == "" || err == nil && u.Scheme != "" && u.Host != "", "%s is no URL", name)
	}
	c.secureKafka(check)
	c.checkAudit(check)
	c.checkSignin(check)
	c.checkProvisioning(check)
	check(c.Partitions >= 1 && c.Partitions <= 10_000, "COCKPIT_PARTITIONS is %d, and must be 1 to 10000", c.Partitions)
	check(c.Window >= time.Hour, "COCKPIT_WINDOW is %v, and must be at least 1h", c.Window)
	check(c.TooEarly >= 0, "COCKPIT_TOO_EARLY is %v, and must not be negative", c.TooEarly)
	check(c.BatchEvents >= 1 && c.BatchEvents <= 1<<20, "COCKPIT_BATCH_EVENTS is %d, and must be 1 to %d", c.BatchEvents, 1<<20)
	check(c.WindowEvents >= 1, "COCKPIT_WINDOW_EVENTS is %d, and must be at least 1", c.WindowEvents)
	check(c.KeepEvents >= 0 && c.KeepQuarters >= 0 && c.KeepDays >= 0, "COCKPIT_KEEP_…_DAYS must not be negative")
	check(c.Requests >= 0, "COCKPIT_API_REQUESTS must not be negative")
	check(c.Refresh >= 10*time.Millisecond, "COCKPIT_DIRECTORY_REFRESH is %v, and must be at least 10ms", c.Refresh)
	var level slog.Level
	check(level.UnmarshalText([]byte(c.LogLevel)) == nil, "COCKPIT_LOG_LEVEL is %q, and must be debug, info, warn or error", c.LogLevel)
	check(c.LogFormat == "text" || c.LogFormat == "json", "COCKPIT_LOG_FORMAT is %q, and must be text or json", c.LogFormat)
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{fmt.Errorf("configuration:\n%w", err)}
	}
	return c, nil
}

func (c *config) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel))
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// setting is a row of `cockpit config`.
type setting struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`
	Default  string `json:"default"`
	Meaning  string `json:"meaning"`
}

func configCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "config", Short: "Every setting: its environment variable, value, default and meaning", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			if err != nil {
				return err
			}
			var rows []setting
			v := reflect.ValueOf(*cfg)
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if !f.IsExported() {
					continue
				}
				value := fmt.Sprint(v.Field(i).Interface())
				if list, ok := v.Field(i).Interface().([]string); ok {
					value = strings.Join(list, ",")
				}
				if f.Tag.Get("secret") == "whole" && value != "" {
					value = "***"
				}
				if u, err := url.Parse(value); f.Tag.Get("secret") == "password" && err == nil && u.User != nil {
					u.User = url.UserPassword(u.User.Username(), "***")
					value = strings.Replace(u.String(), "%2A%2A%2A", "***", 1)
				}
				rows = append(rows, setting{f.Tag.Get("env"), value, f.Tag.Get("envDefault"), f.Tag.Get("doc")})
			}
			return printRows(c.OutOrStdout(), o, rows, "VARIABLE\tVALUE\tDEFAULT\tMEANING", func(s setting) []string {
				return []string{s.Variable, s.Value, s.Default, s.Meaning}
			})
		}}
}
