package orders

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/storefront/pkg/order"
)

const draft = `{"customer":"ada","items":[{"sku":"tea","quantity":2,"price_cents":450}]}`

// newAPI returns the routes over an empty store that keeps nothing.
func newAPI(t *testing.T) http.Handler {
	t.Helper()
	store, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	API{Store: store, Logger: slog.New(slog.DiscardHandler)}.Routes(mux)
	return mux
}

// send asks handler and decodes its answer into out, if there is one.
func send(t *testing.T, handler http.Handler, method, target, body string, out any) int {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, target, strings.NewReader(body)))
	if out != nil {
		if err := json.Unmarshal(recorder.Body.Bytes(), out); err != nil {
			t.Fatalf("%s %s: %v in %q", method, target, err, recorder.Body)
		}
	}
	return recorder.Code
}

func TestLifeOfAnOrder(t *testing.T) {
	api := newAPI(t)
	var o order.Order
	if code := send(t, api, "POST", "/orders", draft, &o); code != http.StatusCreated {
		t.Fatalf("create: %d", code)
	}
	if o.ID == "" || o.Status != order.Pending || o.Revision != 1 || o.Customer != "ada" {
		t.Fatalf("created %+v", o)
	}

	var pending []order.Order
	if code := send(t, api, "GET", "/orders?status=pending", "", &pending); code != 200 || len(pending) != 1 {
		t.Fatalf("list: %d, %+v", code, pending)
	}

	o.Status = order.Fulfilled
	change, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var updated order.Order
	if code := send(t, api, "PUT", "/orders/"+o.ID, string(change), &updated); code != 200 {
		t.Fatalf("update: %d", code)
	}
	if updated.Status != order.Fulfilled || updated.Revision != 2 {
		t.Errorf("updated to %+v", updated)
	}
	if code := send(t, api, "PUT", "/orders/"+o.ID, string(change), nil); code != http.StatusConflict {
		t.Errorf("update from an old revision: %d, want 409", code)
	}

	if code := send(t, api, "DELETE", "/orders/"+o.ID, "", nil); code != http.StatusNoContent {
		t.Errorf("delete: %d", code)
	}
	if code := send(t, api, "GET", "/orders/"+o.ID, "", nil); code != http.StatusNotFound {
		t.Errorf("get after delete: %d", code)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, method, target, body string
		code                       int
	}{
		{"not JSON", "POST", "/orders", "{", 400},
		{"an unknown field", "POST", "/orders", `{"custommer":"ada"}`, 400},
		{"no items", "POST", "/orders", `{"customer":"ada"}`, 400},
		{"too large", "POST", "/orders", `{"customer":"` + strings.Repeat("a", maxBody) + `"}`, 400},
		{"an unknown status", "GET", "/orders?status=lost", "", 400},
		{"an unknown order", "GET", "/orders/1", "", 404},
		{"update of an unknown order", "PUT", "/orders/1", strings.Replace(draft, "{", `{"status":"pending",`, 1), 404},
		{"delete of an unknown order", "DELETE", "/orders/1", "", 404},
		{"another method", "PATCH", "/orders/1", "", 405},
	}
	api := newAPI(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := send(t, api, tt.method, tt.target, tt.body, nil); got != tt.code {
				t.Errorf("%s %s = %d, want %d", tt.method, tt.target, got, tt.code)
			}
		})
	}
}

func TestEmptyListIsAnArray(t *testing.T) {
	recorder := httptest.NewRecorder()
	newAPI(t).ServeHTTP(recorder, httptest.NewRequest("GET", "/orders", nil))
	if got := strings.TrimSpace(recorder.Body.String()); got != "[]" {
		t.Errorf("GET /orders = %s, want []", got)
	}
}
