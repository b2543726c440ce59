package order_test

import (
	"errors"
	"testing"

	"example.com/storefront/pkg/order"
)

func TestValidate(t *testing.T) {
	item := order.Item{SKU: "tea", Quantity: 2, PriceCents: 450}
	tests := []struct {
		name  string
		draft order.Draft
		valid bool
	}{
		{"a customer and an item", order.Draft{Customer: "ada", Items: []order.Item{item}}, true},
		{"a free item", order.Draft{Customer: "ada", Items: []order.Item{{SKU: "leaflet", Quantity: 1}}}, true},
		{"no customer", order.Draft{Items: []order.Item{item}}, false},
		{"a blank customer", order.Draft{Customer: " \t", Items: []order.Item{item}}, false},
		{"no items", order.Draft{Customer: "ada"}, false},
		{"no sku", order.Draft{Customer: "ada", Items: []order.Item{{Quantity: 1}}}, false},
		{"none of an item", order.Draft{Customer: "ada", Items: []order.Item{{SKU: "tea"}}}, false},
		{"too many of an item", order.Draft{Customer: "ada", Items: []order.Item{{SKU: "tea", Quantity: 10_001}}}, false},
		{"a negative price", order.Draft{Customer: "ada", Items: []order.Item{{SKU: "tea", Quantity: 1, PriceCents: -1}}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.draft.Validate()
			if tt.valid && err != nil {
				t.Fatalf("Validate() = %v, want nil", err)
			}
			if !tt.valid && !errors.Is(err, order.ErrInvalid) {
				t.Fatalf("Validate() = %v, want an ErrInvalid", err)
			}
		})
	}
}

func TestTotalCents(t *testing.T) {
	draft := order.Draft{Items: []order.Item{
		{SKU: "tea", Quantity: 2, PriceCents: 450},
		{SKU: "cup", Quantity: 1, PriceCents: 1200},
	}}
	if got, want := draft.TotalCents(), int64(2100); got != want {
		t.Errorf("TotalCents() = %d, want %d", got, want)
	}
}

func TestStatusValid(t *testing.T) {
	for _, s := range []order.Status{order.Pending, order.Fulfilled, order.Rejected} {
		if !s.Valid() {
			t.Errorf("%q is not valid", s)
		}
	}
	if order.Status("lost").Valid() {
		t.Error(`"lost" is valid`)
	}
}
