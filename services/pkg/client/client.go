// Package client talks to the orders service over HTTP.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"example.com/storefront/pkg/order"
)

// maxBody bounds what is read of one answer.
const maxBody = 8 << 20

var (
	// ErrNotFound says that there is no such order.
	ErrNotFound = errors.New("order not found")
	// ErrConflict says that the order has changed since it was read.
	ErrConflict = errors.New("order has changed")
	// ErrNotReady says that the orders service answers but takes no work.
	ErrNotReady = errors.New("orders service is not ready")
)

// Client is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client of the orders service at base, as http://orders:8080.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("orders url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("orders url %q: want http://HOST or https://HOST", base)
	}
	return &Client{base: u, http: &http.Client{Timeout: 10 * time.Second}}, nil
}

// Ready returns nil when the orders service takes work.
func (c *Client) Ready(ctx context.Context) error {
	err := c.do(ctx, http.MethodGet, c.base.JoinPath("readyz"), nil, nil)
	if status, ok := errors.AsType[*statusError](err); ok {
		return fmt.Errorf("%w: status %d", ErrNotReady, status.code)
	}
	return err
}

// List returns the orders that stand at status, oldest first.
func (c *Client) List(ctx context.Context, status order.Status) ([]order.Order, error) {
	u := c.base.JoinPath("orders")
	u.RawQuery = url.Values{"status": {string(status)}}.Encode()
	var orders []order.Order
	if err := c.do(ctx, http.MethodGet, u, nil, &orders); err != nil {
		return nil, err
	}
	return orders, nil
}

// Update writes o, which must carry the revision that it was read with, and
// returns it as stored.
func (c *Client) Update(ctx context.Context, o order.Order) (order.Order, error) {
	var stored order.Order
	err := c.do(ctx, http.MethodPut, c.base.JoinPath("orders", o.ID), o, &stored)
	return stored, err
}

// statusError is an answer other than success that has no error of its own.
type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("orders service answered %d: %s", e.code, e.body)
}

func (c *Client) do(ctx context.Context, method string, u *url.URL, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return ErrNotFound
	case resp.StatusCode == http.StatusConflict:
		return ErrConflict
	case resp.StatusCode >= 300:
		return &statusError{code: resp.StatusCode, body: string(bytes.TrimSpace(answer))}
	case out == nil:
		return nil
	default:
		return json.Unmarshal(answer, out)
	}
}
