package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/time/rate"
)

// newGateway returns the gateway's routes in front of orders.
func newGateway(t *testing.T, orders string, limiter *rate.Limiter) http.Handler {
	t.Helper()
	target, err := url.Parse(orders)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	Gateway{Orders: target, Limiter: limiter, Logger: slog.New(slog.DiscardHandler)}.Routes(mux)
	return mux
}

func get(handler http.Handler, target string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
	return recorder
}

func TestOrdersAreHandedOver(t *testing.T) {
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-For") == "" {
			t.Error("no X-Forwarded-For")
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI())
	}))
	t.Cleanup(orders.Close)
	gateway := newGateway(t, orders.URL, rate.NewLimiter(rate.Inf, 0))
	for _, target := range []string{"/orders", "/orders?status=pending", "/orders/1"} {
		recorder := get(gateway, target)
		if got, want := recorder.Body.String(), "GET "+target; recorder.Code != 200 || got != want {
			t.Errorf("GET %s = %d %q, want 200 %q", target, recorder.Code, got, want)
		}
	}
}

func TestOrdersGone(t *testing.T) {
	orders := httptest.NewServer(http.NotFoundHandler())
	orders.Close()
	gateway := newGateway(t, orders.URL, rate.NewLimiter(rate.Inf, 0))
	if got := get(gateway, "/orders").Code; got != http.StatusBadGateway {
		t.Errorf("GET /orders = %d, want 502", got)
	}
}

func TestLimit(t *testing.T) {
	orders := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(orders.Close)
	gateway := newGateway(t, orders.URL, rate.NewLimiter(0, 1))
	if got := get(gateway, "/orders").Code; got != http.StatusOK {
		t.Errorf("the first request got %d", got)
	}
	recorder := get(gateway, "/orders")
	if recorder.Code != http.StatusTooManyRequests || recorder.Header().Get("Retry-After") == "" {
		t.Errorf("the second request got %d %v, want 429 with Retry-After", recorder.Code, recorder.Header())
	}
}

func TestStartPage(t *testing.T) {
	gateway := newGateway(t, "http://127.0.0.1:1", rate.NewLimiter(0, 0))
	recorder := get(gateway, "/")
	if recorder.Code != 200 || !strings.Contains(recorder.Body.String(), "<h1>Storefront</h1>") {
		t.Errorf("GET / = %d %q", recorder.Code, recorder.Body)
	}
	if got := get(gateway, "/nothing").Code; got != http.StatusNotFound {
		t.Errorf("GET /nothing = %d, want 404", got)
	}
}
