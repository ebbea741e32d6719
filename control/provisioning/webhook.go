package provisioning

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	signatureHeader = "ZITADEL-Signature"
	tolerance       = 300 * time.Second // both ways
	eventMax        = 1 << 20
)

// Path is where ZITADEL's target sends events to.
const Path = "/v1/zitadel/events"

// event is what Actions v2 send.
type event struct {
	AggregateID   string  `json:"aggregateID"`
	AggregateType string  `json:"aggregateType"`
	ResourceOwner string  `json:"resourceOwner"`
	InstanceID    string  `json:"instanceID"`
	Sequence      int64   `json:"sequence"`
	Type          string  `json:"event_type"`
	Editor        string  `json:"userID"`
	Payload       payload `json:"event_payload"`
}

// payload is what events that are understood say. Some releases write it as base64, some as an object.
type payload struct {
	UserID      string   `json:"userId"`
	ProjectID   string   `json:"projectId"`
	RoleKeys    []string `json:"roleKeys"`
	FirstName   string   `json:"firstName"`
	LastName    string   `json:"lastName"`
	DisplayName string   `json:"displayName"`
	Email       string   `json:"email"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *payload) UnmarshalJSON(text []byte) error {
	type plain payload
	var coded []byte
	if json.Unmarshal(text, &coded) == nil {
		if text = coded; len(text) == 0 {
			return nil
		}
	}
	return json.Unmarshal(text, (*plain)(p))
}

// Handler takes events: 200 for what was applied, was applied before, or is of no concern; 401 for what is not signed; 400 for
// what is none; 500 when nothing was kept. What an answer says goes nowhere: ZITADEL does not send an event twice.
func (s *Service) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, outcome := s.take(w, r)
		s.cfg.Metrics.events.WithLabelValues(outcome).Inc()
		w.WriteHeader(status)
	})
}

func (s *Service) take(w http.ResponseWriter, r *http.Request) (status int, outcome string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, "unsigned"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, eventMax))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return http.StatusRequestEntityTooLarge, "unsigned"
		}
		return http.StatusBadRequest, "unsigned"
	}
	if !signed(r.Header.Values(signatureHeader), body, s.cfg.Now(), s.cfg.Secrets) {
		return http.StatusUnauthorized, "unsigned"
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.AggregateID == "" || e.Type == "" || e.Sequence <= 0 {
		return http.StatusBadRequest, "failed"
	}
	if s.cfg.Instance != "" && e.InstanceID != s.cfg.Instance {
		return http.StatusOK, foreign
	}
	if outcome, err = s.apply(r.Context(), &e); err != nil {
		s.cfg.Log.Error("an event of ZITADEL was not kept", "type", e.Type, "sequence", e.Sequence, "error", err)
		return http.StatusInternalServerError, "failed"
	}
	return http.StatusOK, outcome
}

// signed says whether one of the secrets made one of the header's signatures, t=<unix>,v1=<hex>[,v1=…], at about now. All are
// compared, in constant time.
func signed(headers []string, body []byte, now time.Time, secrets []string) bool {
	if len(headers) != 1 {
		return false
	}
	var stamp string
	var signatures [][]byte
	for part := range strings.SplitSeq(headers[0], ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			if stamp != "" {
				return false
			}
			stamp = value
		case "v1":
			if s, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, s)
			}
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || len(signatures) > 8 || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	good := false
	for _, secret := range secrets {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(stamp + "."))
		m.Write(body)
		want := m.Sum(nil)
		for _, s := range signatures {
			good = hmac.Equal(want, s) || good
		}
	}
	return good && len(secrets) > 0
}
