// Package worker takes pending orders from the orders service and fulfils them.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/storefront/internal/env"
	"example.com/storefront/pkg/backoff"
	"example.com/storefront/pkg/client"
	"example.com/storefront/pkg/order"
)

const (
	// concurrency is how many orders are worked on at once.
	concurrency = 4
	// maxDelay bounds the pause while the orders service can't be reached.
	maxDelay = 30 * time.Second
	// approvalLimitCents is the largest total that is fulfilled without a person.
	approvalLimitCents = 1_000_000_00
)

// Orders is the part of the orders service that a worker needs.
type Orders interface {
	List(context.Context, order.Status) ([]order.Order, error)
	Update(context.Context, order.Order) (order.Order, error)
}

// Worker polls Orders every Interval.
type Worker struct {
	Orders   Orders
	Interval time.Duration
	Logger   *slog.Logger
}

// Run works until ctx ends. The orders service is at ORDERS_URL, and is asked
// every POLL_INTERVAL (2s).
func Run(ctx context.Context, logger *slog.Logger) error {
	interval, err := env.Duration("POLL_INTERVAL", 2*time.Second)
	if err != nil {
		return err
	}
	if interval == 0 {
		return errors.New("POLL_INTERVAL must not be 0")
	}
	orders, err := client.New(env.String("ORDERS_URL", "http://localhost:8081"))
	if err != nil {
		return err
	}
	Worker{Orders: orders, Interval: interval, Logger: logger}.Loop(ctx)
	return nil
}

// Loop polls until ctx ends. Failures only slow it down.
func (w Worker) Loop(ctx context.Context) {
	retry := backoff.Backoff{Base: w.Interval, Max: max(maxDelay, w.Interval)}
	for {
		delay := w.Interval
		if done, err := w.Poll(ctx); err != nil {
			// A poll that the stop cut short is no failure.
			if ctx.Err() != nil {
				return
			}
			delay = retry.Next()
			w.Logger.Warn("poll failed", "error", err, "retry_in", delay.String())
		} else {
			retry.Reset()
			if done > 0 {
				w.Logger.Info("orders processed", "count", done)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

// Poll works through the orders that are pending now and returns how many of
// them it settled. Orders that somebody else changed meanwhile are left alone.
func (w Worker) Poll(ctx context.Context) (int, error) {
	pending, err := w.Orders.List(ctx, order.Pending)
	if err != nil {
		return 0, fmt.Errorf("list: %w", err)
	}
	settled := make([]bool, len(pending))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i, o := range pending {
		group.Go(func() error {
			o.Status = decide(o)
			_, err := w.Orders.Update(ctx, o)
			if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("order %s: %w", o.ID, err)
			}
			settled[i] = true
			return nil
		})
	}
	err = group.Wait()
	done := 0
	for _, ok := range settled {
		if ok {
			done++
		}
	}
	return done, err
}

// decide is the whole of the business: large orders are for people.
func decide(o order.Order) order.Status {
	if o.TotalCents() > approvalLimitCents {
		return order.Rejected
	}
	return order.Fulfilled
}
