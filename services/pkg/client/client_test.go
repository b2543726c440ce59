package client_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/storefront/pkg/client"
	"example.com/storefront/pkg/order"
)

// serve returns a client whose requests handler answers.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "orders:8080", "ftp://orders", "http://", "http://[::1"} {
		if _, err := client.New(base); err == nil {
			t.Errorf("New(%q) gave no error", base)
		}
	}
}

func TestList(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.RequestURI(); got != "/orders?status=pending" {
			t.Errorf("asked for %q", got)
		}
		_ = json.NewEncoder(w).Encode([]order.Order{{ID: "1"}, {ID: "2"}})
	})
	orders, err := c.List(t.Context(), order.Pending)
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != 2 || orders[0].ID != "1" || orders[1].ID != "2" {
		t.Errorf("List() = %+v", orders)
	}
}

func TestUpdateErrors(t *testing.T) {
	tests := []struct {
		code int
		want error
	}{
		{http.StatusNotFound, client.ErrNotFound},
		{http.StatusConflict, client.ErrConflict},
	}
	for _, tt := range tests {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.code) })
		if _, err := c.Update(t.Context(), order.Order{ID: "1"}); !errors.Is(err, tt.want) {
			t.Errorf("status %d: Update() = %v, want %v", tt.code, err, tt.want)
		}
	}
}

func TestReady(t *testing.T) {
	status := http.StatusOK
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	if err := c.Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v, want nil", err)
	}
	status = http.StatusServiceUnavailable
	if err := c.Ready(t.Context()); !errors.Is(err, client.ErrNotReady) {
		t.Errorf("Ready() = %v, want %v", err, client.ErrNotReady)
	}
}
