// Package order holds what the services say to each other about orders: the
// JSON form of an order, its states, and the rules that every order keeps.
package order

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Status is where an order stands.
type Status string

// The states of an order, in the order in which it passes through them.
const (
	Pending   Status = "pending"
	Fulfilled Status = "fulfilled"
	Rejected  Status = "rejected"
)

// maxQuantity bounds one line, so that a total cannot overflow.
const maxQuantity = 10_000

// ErrInvalid is wrapped by every error that [Draft.Validate] returns.
var ErrInvalid = errors.New("invalid order")

// Item is one line of an order. Prices are in cents.
type Item struct {
	SKU        string `json:"sku"`
	Quantity   int    `json:"quantity"`
	PriceCents int64  `json:"price_cents"`
}

// Draft is an order as a customer sends it.
type Draft struct {
	Customer string `json:"customer"`
	Items    []Item `json:"items"`
}

// Order is a draft that has been taken in. Revision grows by one with every
// change; an update must name the revision that it is based on.
type Order struct {
	ID string `json:"id"`
	Draft
	Status   Status    `json:"status"`
	Revision int       `json:"revision"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

// Valid reports whether s is one of the states above.
func (s Status) Valid() bool {
	switch s {
	case Pending, Fulfilled, Rejected:
		return true
	default:
		return false
	}
}

// Validate reports the first rule that the draft breaks.
func (d Draft) Validate() error {
	if strings.TrimSpace(d.Customer) == "" {
		return fmt.Errorf("%w: customer is empty", ErrInvalid)
	}
	if len(d.Items) == 0 {
		return fmt.Errorf("%w: no items", ErrInvalid)
	}
	for i, item := range d.Items {
		switch {
		case strings.TrimSpace(item.SKU) == "":
			return fmt.Errorf("%w: item %d: sku is empty", ErrInvalid, i)
		case item.Quantity < 1 || item.Quantity > maxQuantity:
			return fmt.Errorf("%w: item %d: quantity %d is not in 1..%d", ErrInvalid, i, item.Quantity, maxQuantity)
		case item.PriceCents < 0:
			return fmt.Errorf("%w: item %d: price is negative", ErrInvalid, i)
		}
	}
	return nil
}

// TotalCents is the sum over all items.
func (d Draft) TotalCents() int64 {
	var total int64
	for _, item := range d.Items {
		total += int64(item.Quantity) * item.PriceCents
	}
	return total
}
