package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/alchemi/cockpit/internal/outgoing"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// WebhookSink is the name under which the webhook's position is kept.
const WebhookSink = "webhook"

// secretMin is the length of 24 bytes in base64, the least that Standard Webhooks allows.
const secretMin = 32

type webhook struct {
	url    string
	signer *standardwebhooks.Webhook
	client *outgoing.Client
	now    func() time.Time
}

// Webhook is a URL as a sink: an event a POST, signed as Standard Webhooks are. Only an answer of 2xx has it for good. The
// secret is base64, with or without whsec_ in front.
func Webhook(url, secret string, client *outgoing.Client, now func() time.Time) (Sink, error) {
	signer, err := standardwebhooks.NewWebhook(secret)
	if err == nil && len(strings.TrimPrefix(secret, "whsec_")) < secretMin {
		err = errors.New("it is too short")
	}
	if err != nil {
		return nil, fmt.Errorf("the audit webhook's secret must be 24 bytes or more in base64: %w", err)
	}
	if _, err := http.NewRequest(http.MethodPost, url, nil); err != nil { //nolint:noctx // is not sent
		return nil, fmt.Errorf("the audit webhook's URL: %w", err)
	}
	return &webhook{url, signer, client, now}, nil
}

// Deliver implements Sink: one after the other, so that a receiver has a chain in its order.
func (w *webhook) Deliver(ctx context.Context, events []Event) (int, error) {
	for i := range events {
		if err := w.post(ctx, &events[i]); err != nil {
			return i, err
		}
	}
	return len(events), nil
}

func (w *webhook) post(ctx context.Context, e *Event) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	at := w.now()
	signature, err := w.signer.Sign(e.ID, at, e.Body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/cloudevents+json")
	r.Header.Set(standardwebhooks.HeaderWebhookID, e.ID)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	resp, err := w.client.Do(r)
	if err != nil {
		return fmt.Errorf("send to the audit webhook: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the audit webhook answered %d", resp.StatusCode)
	}
	return nil
}
