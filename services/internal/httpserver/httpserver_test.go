package httpserver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/storefront/internal/httpserver"
)

func newServer(routes func(*http.ServeMux), ready error) *httpserver.Server {
	return &httpserver.Server{
		Version: "1.2.3",
		Logger:  slog.New(slog.DiscardHandler),
		Routes:  routes,
		Ready:   func(context.Context) error { return ready },
	}
}

func TestProbes(t *testing.T) {
	tests := []struct {
		path  string
		ready error
		code  int
		body  string
	}{
		{"/healthz", nil, 200, `{"status":"ok"}`},
		{"/healthz", errors.New("no store"), 200, `{"status":"ok"}`},
		{"/readyz", nil, 200, `{"status":"ready"}`},
		{"/readyz", errors.New("no store"), 503, `{"error":"no store"}`},
		{"/version", nil, 200, `{"version":"1.2.3"}`},
	}
	for _, tt := range tests {
		recorder := httptest.NewRecorder()
		server := newServer(func(*http.ServeMux) {}, tt.ready)
		server.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if got := strings.TrimSpace(recorder.Body.String()); recorder.Code != tt.code || got != tt.body {
			t.Errorf("%s (ready: %v) = %d %s, want %d %s", tt.path, tt.ready, recorder.Code, got, tt.code, tt.body)
		}
	}
}

// A request that is open when the stop begins gets its answer.
func TestServeFinishesOpenRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server := newServer(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			_, _ = io.WriteString(w, "done")
		})
	}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, 0) }()

	answered := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + listener.Addr().String() + "/slow")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- string(body)
	}()
	<-entered
	stop()
	select {
	case err := <-served:
		t.Fatalf("Serve() = %v while a request was open", err)
	default:
	}
	close(release)
	if got := <-answered; got != "done" {
		t.Errorf("the open request got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
}

func TestRunRefusesBadPort(t *testing.T) {
	t.Setenv("SERVER_PORT", "http")
	if err := newServer(func(*http.ServeMux) {}, nil).Run(t.Context()); err == nil {
		t.Error("Run() = nil, want an error about SERVER_PORT")
	}
}
