// Package orders is the orders service: an HTTP API over a store of orders.
package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"example.com/storefront/internal/env"
	"example.com/storefront/internal/httpserver"
	"example.com/storefront/pkg/order"
)

// maxBody bounds what is read of one request.
const maxBody = 1 << 20

// Run serves the API until ctx ends. The store's snapshot lies at STORE_PATH;
// without it orders live as long as the process.
func Run(ctx context.Context, version string, logger *slog.Logger) error {
	store, err := Open(env.String("STORE_PATH", ""))
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	server := httpserver.Server{
		Version: version,
		Logger:  logger,
		Routes:  API{Store: store, Logger: logger}.Routes,
		Ready:   func(context.Context) error { return store.Ready() },
	}
	return server.Run(ctx)
}

// API is the HTTP face of a store.
type API struct {
	Store  *Store
	Logger *slog.Logger
}

// Routes adds the API's routes to mux.
func (a API) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /orders", a.list)
	mux.HandleFunc("POST /orders", a.create)
	mux.HandleFunc("GET /orders/{id}", a.get)
	mux.HandleFunc("PUT /orders/{id}", a.update)
	mux.HandleFunc("DELETE /orders/{id}", a.delete)
}

func (a API) list(w http.ResponseWriter, r *http.Request) {
	status := order.Status(r.URL.Query().Get("status"))
	if status != "" && !status.Valid() {
		a.fail(w, fmt.Errorf("%w: unknown status %q", order.ErrInvalid, status))
		return
	}
	httpserver.WriteJSON(w, http.StatusOK, a.Store.List(status))
}

func (a API) create(w http.ResponseWriter, r *http.Request) {
	var draft order.Draft
	if err := decode(w, r, &draft); err != nil {
		a.fail(w, err)
		return
	}
	o, err := a.Store.Create(draft)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.Logger.Info("order created", "id", o.ID, "total_cents", o.TotalCents())
	w.Header().Set("Location", "/orders/"+o.ID)
	httpserver.WriteJSON(w, http.StatusCreated, o)
}

func (a API) get(w http.ResponseWriter, r *http.Request) {
	o, err := a.Store.Get(r.PathValue("id"))
	if err != nil {
		a.fail(w, err)
		return
	}
	httpserver.WriteJSON(w, http.StatusOK, o)
}

func (a API) update(w http.ResponseWriter, r *http.Request) {
	var change order.Order
	if err := decode(w, r, &change); err != nil {
		a.fail(w, err)
		return
	}
	change.ID = r.PathValue("id")
	o, err := a.Store.Update(change)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.Logger.Info("order updated", "id", o.ID, "status", o.Status, "revision", o.Revision)
	httpserver.WriteJSON(w, http.StatusOK, o)
}

func (a API) delete(w http.ResponseWriter, r *http.Request) {
	if err := a.Store.Delete(r.PathValue("id")); err != nil {
		a.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// fail answers with the status that err stands for. What went wrong inside is
// logged, and not told to the client.
func (a API) fail(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, order.ErrInvalid):
		httpserver.WriteError(w, http.StatusBadRequest, err)
	case errors.Is(err, errNotFound):
		httpserver.WriteError(w, http.StatusNotFound, err)
	case errors.Is(err, errConflict):
		httpserver.WriteError(w, http.StatusConflict, err)
	default:
		a.Logger.Error("request failed", "error", err)
		httpserver.WriteError(w, http.StatusInternalServerError, errors.New("internal error"))
	}
}

func decode(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", order.ErrInvalid, err)
	}
	return nil
}
