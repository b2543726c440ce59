//! The generated repository's files, in which `NAME` and the lines of comments that name lists are replaced.

pub(super) const MODULE: &str = r#"module example.com/bench

go 1.25.0

require (
	github.com/go-chi/chi/v5 v5.2.4
	github.com/prometheus/client_golang v1.23.2
	go.uber.org/zap v1.27.1
)
"#;

/// What a [`super::workload::Kind::Vendored`] module requires besides.
pub(super) const MORE: &str = r#"
require (
	github.com/aws/aws-sdk-go-v2/service/ecr v1.56.0
	github.com/aws/aws-sdk-go-v2/service/kms v1.49.1
	github.com/aws/aws-sdk-go-v2/service/s3 v1.97.3
	k8s.io/apiserver v0.34.1
	k8s.io/client-go v0.34.1
	k8s.io/kubectl v0.34.1
)
"#;

pub(super) const CLOUD: &str = r#"// Package cloud links what a platform team's services have in common.
package cloud

import (
	_ "github.com/aws/aws-sdk-go-v2/service/ecr"
	_ "github.com/aws/aws-sdk-go-v2/service/kms"
	_ "github.com/aws/aws-sdk-go-v2/service/s3"
	_ "k8s.io/apiserver/pkg/server/options"
	_ "k8s.io/client-go/dynamic"
	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/tools/clientcmd"
	_ "k8s.io/kubectl/pkg/cmd"
)
"#;

pub(super) const PIPELINE: &str = r#"version = 1

[project]
name = "bench"
registry = "oci:dist/oci"
platforms = ["linux/amd64"]

[stages.scan]
enabled = false

[stages.verify]
enabled = false
"#;

pub(super) const MAIN: &str = r#"// NAME is a service.
package main

import (
	"os"

	"example.com/bench/internal/server"
// imports
)

// version is set by the linker.
var version = "dev"

// round is what an edit changes.
const round = "0"

func main() {
	routes := server.New("NAME", version+round)
// routes
	if err := server.Run(routes); err != nil {
		os.Exit(1)
	}
}
"#;

pub(super) const SERVER: &str = r#"// Package server runs an HTTP server with logs and metrics.
package server

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// round is what an edit changes.
const round = "0"

// New makes the routes that every service has.
func New(name, version string) *chi.Mux {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounter(prometheus.CounterOpts{Name: "requests_total"})
	registry.MustRegister(requests)
	routes := chi.NewRouter()
	routes.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	routes.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		requests.Inc()
		_ = json.NewEncoder(w).Encode(map[string]string{"name": name, "version": version, "round": round})
	})
	return routes
}

// Run serves until it can't.
func Run(routes *chi.Mux) error {
	logger, err := zap.NewProduction()
	if err != nil {
		return err
	}
	logger.Info("listening")
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: routes, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}
"#;

pub(super) const PACKAGE: &str = r#"// Package NAME is a part of the business.
package NAME

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"text/template"
// imports
)

// Item is what is kept.
type Item struct {
	ID    string            `json:"id" xml:"id"`
	Tags  map[string]string `json:"tags" xml:"-"`
	Price int64             `json:"price" xml:"price"`
}

// ErrMissing says that there is no such item.
var ErrMissing = errors.New("NAME: no such item")

var page = template.Must(template.New("NAME").Parse("{{range .}}{{.ID}} {{.Price}}\n{{end}}"))

// Store keeps items.
type Store struct {
	mutex sync.RWMutex
	items map[string]Item
}

// Put keeps an item.
func (s *Store) Put(item Item) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.items == nil {
		s.items = map[string]Item{}
	}
	s.items[item.ID] = item
}

// Get finds an item.
func (s *Store) Get(id string) (Item, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	item, found := s.items[id]
	if !found {
		return Item{}, fmt.Errorf("%w: %s", ErrMissing, id)
	}
	return item, nil
}

func pick[T any](all map[string]T, keep func(T) bool) []T {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	var kept []T
	for _, name := range names {
		if keep(all[name]) {
			kept = append(kept, all[name])
		}
	}
	return kept
}

var store Store

// Handle answers.
func Handle(w http.ResponseWriter, r *http.Request) {
	store.Put(Item{ID: strings.ToLower(r.URL.Path), Price: r.ContentLength})
	store.mutex.RLock()
	items := pick(store.items, func(item Item) bool { return item.Price >= 0 })
	store.mutex.RUnlock()
	switch r.Header.Get("Accept") {
	case "application/xml":
		_ = xml.NewEncoder(w).Encode(items)
	case "application/json":
		_ = json.NewEncoder(w).Encode(items)
	default:
		_ = page.Execute(w, items)
	}
// uses
}
"#;
