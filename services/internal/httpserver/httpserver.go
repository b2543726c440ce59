// Package httpserver runs an HTTP server with the probes that every server of
// this module has, and stops it without dropping a request.
package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"example.com/storefront/internal/env"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// stopTimeout bounds how long open requests may hold up the end.
	stopTimeout = 15 * time.Second
	// checkTimeout bounds one readiness check.
	checkTimeout = 2 * time.Second
)

// Server is what differs between the servers of this module.
type Server struct {
	Version string
	Logger  *slog.Logger
	// Routes adds the service's own routes. The probes are already there.
	Routes func(*http.ServeMux)
	// Ready returns why the service can't take work now, or nil.
	Ready func(context.Context) error

	draining atomic.Bool
}

// Run serves on SERVER_PORT (8080) until ctx ends. Then /readyz says no, new
// requests are still taken for DRAIN_DELAY (0s) while load balancers look
// away, and the open ones are finished.
func (s *Server) Run(ctx context.Context) error {
	port, err := env.Port("SERVER_PORT", 8080)
	if err != nil {
		return err
	}
	delay, err := env.Duration("DRAIN_DELAY", 0)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	return s.Serve(ctx, listener, delay)
}

// Serve is Run on a listener of the caller's, which it closes.
func (s *Server) Serve(ctx context.Context, listener net.Listener, drainDelay time.Duration) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	s.Logger.Info("listening", "address", listener.Addr().String())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.Logger.Info("draining", "delay", drainDelay.String())
	select {
	case err := <-failed:
		return err
	case <-time.After(drainDelay):
	}
	// ctx has ended: the open requests need one of their own.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return fmt.Errorf("requests were still open: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler is the probes, the version, and the service's own routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"version": s.Version})
	})
	s.Routes(mux)
	return mux
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		WriteError(w, http.StatusServiceUnavailable, errors.New("stopping"))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.Logger.Warn("not ready", "error", err)
		WriteError(w, http.StatusServiceUnavailable, err)
		return
	}
	WriteJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// WriteJSON answers with body as JSON.
func WriteJSON(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may be gone: nobody is left to be told.
	_, _ = w.Write(append(encoded, '\n'))
}

// WriteError answers with {"error": "…"}.
func WriteError(w http.ResponseWriter, status int, err error) {
	WriteJSON(w, status, map[string]string{"error": err.Error()})
}
