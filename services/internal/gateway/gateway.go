// Package gateway is the front door: it serves the start page, limits how fast
// requests come in, and hands /orders over to the orders service.
package gateway

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"golang.org/x/time/rate"

	"example.com/storefront/internal/env"
	"example.com/storefront/internal/httpserver"
	"example.com/storefront/pkg/client"
)

const (
	// requestsPerSecond and burst are limits for all clients together.
	requestsPerSecond = 200
	burst             = 400
)

//go:embed static
var static embed.FS

// Run serves until ctx ends. Orders are sent to ORDERS_URL.
func Run(ctx context.Context, version string, logger *slog.Logger) error {
	ordersURL := env.String("ORDERS_URL", "http://localhost:8081")
	orders, err := client.New(ordersURL)
	if err != nil {
		return err
	}
	target, err := url.Parse(ordersURL)
	if err != nil {
		return err
	}
	gateway := Gateway{
		Orders:  target,
		Limiter: rate.NewLimiter(requestsPerSecond, burst),
		Logger:  logger,
	}
	server := httpserver.Server{Version: version, Logger: logger, Routes: gateway.Routes, Ready: orders.Ready}
	return server.Run(ctx)
}

// Gateway routes what comes from outside.
type Gateway struct {
	Orders  *url.URL
	Limiter *rate.Limiter
	Logger  *slog.Logger
}

// Routes adds the gateway's routes to mux.
func (g Gateway) Routes(mux *http.ServeMux) {
	pages, err := fs.Sub(static, "static")
	if err != nil {
		// The name is the one above: only a defect of this package comes here.
		panic(err)
	}
	orders := g.limit(g.proxy())
	mux.Handle("/orders", orders)
	mux.Handle("/orders/", orders)
	// Without a method: "GET /" would be at odds with the routes above.
	mux.Handle("/", http.FileServerFS(pages))
}

func (g Gateway) proxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(g.Orders)
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			g.Logger.Error("orders did not answer", "path", r.URL.Path, "error", err)
			httpserver.WriteError(w, http.StatusBadGateway, errors.New("orders did not answer"))
		},
	}
}

func (g Gateway) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.Limiter.Allow() {
			w.Header().Set("Retry-After", "1")
			httpserver.WriteError(w, http.StatusTooManyRequests, errors.New("too many requests"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
