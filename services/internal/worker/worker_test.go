package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/storefront/pkg/client"
	"example.com/storefront/pkg/order"
)

// fake is an orders service in memory.
type fake struct {
	mu      sync.Mutex
	pending []order.Order
	lists   int
	listErr error
	// updateErr is what an update of the order with this id answers.
	updateErr map[string]error
	updated   map[string]order.Status
}

func (f *fake) List(context.Context, order.Status) ([]order.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	return f.pending, f.listErr
}

func (f *fake) Update(_ context.Context, o order.Order) (order.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.updateErr[o.ID]; err != nil {
		return order.Order{}, err
	}
	if f.updated == nil {
		f.updated = make(map[string]order.Status)
	}
	f.updated[o.ID] = o.Status
	return o, nil
}

func newWorker(f *fake) Worker {
	return Worker{Orders: f, Interval: time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func costing(id string, cents int64) order.Order {
	return order.Order{ID: id, Draft: order.Draft{Items: []order.Item{{SKU: "tea", Quantity: 1, PriceCents: cents}}}}
}

func TestPollDecides(t *testing.T) {
	f := &fake{pending: []order.Order{costing("small", 450), costing("large", approvalLimitCents+1)}}
	done, err := newWorker(f).Poll(t.Context())
	if err != nil || done != 2 {
		t.Fatalf("Poll() = %d, %v", done, err)
	}
	if f.updated["small"] != order.Fulfilled || f.updated["large"] != order.Rejected {
		t.Errorf("updated %v", f.updated)
	}
}

func TestPollLeavesWhatOthersChanged(t *testing.T) {
	f := &fake{
		pending:   []order.Order{costing("changed", 1), costing("gone", 1), costing("mine", 1)},
		updateErr: map[string]error{"changed": client.ErrConflict, "gone": client.ErrNotFound},
	}
	if done, err := newWorker(f).Poll(t.Context()); err != nil || done != 1 {
		t.Errorf("Poll() = %d, %v, want 1, nil", done, err)
	}
}

func TestPollReportsFailures(t *testing.T) {
	broken := errors.New("broken")
	for name, f := range map[string]*fake{
		"list":   {listErr: broken},
		"update": {pending: []order.Order{costing("1", 1)}, updateErr: map[string]error{"1": broken}},
	} {
		if _, err := newWorker(f).Poll(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s: Poll() = %v, want %v", name, err, broken)
		}
	}
}

func TestLoopPollsAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		newWorker(f).Loop(ctx)
		if f.lists != 11 {
			t.Errorf("%d polls in 10 s, want 11", f.lists)
		}
	})
}

func TestLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{listErr: errors.New("refused")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		newWorker(f).Loop(ctx)
		if f.lists < 4 || f.lists > 9 {
			t.Errorf("%d polls in a minute of failures, want 4 to 9", f.lists)
		}
	})
}

func TestRunRefusesBadSettings(t *testing.T) {
	for name, value := range map[string]string{"POLL_INTERVAL": "soon", "ORDERS_URL": "orders"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if err := Run(t.Context(), slog.New(slog.DiscardHandler)); err == nil {
				t.Errorf("Run() = nil with %s=%s", name, value)
			}
		})
	}
}
