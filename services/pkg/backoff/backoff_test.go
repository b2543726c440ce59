package backoff_test

import (
	"testing"
	"time"

	"example.com/storefront/pkg/backoff"
)

func TestNextGrowsToMax(t *testing.T) {
	b := backoff.Backoff{Base: 100 * time.Millisecond, Max: time.Second}
	for i, nominal := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
		nominal *= time.Millisecond
		if got := b.Next(); got < nominal/2 || got > nominal {
			t.Errorf("delay %d is %v, want %v..%v", i, got, nominal/2, nominal)
		}
	}
}

func TestReset(t *testing.T) {
	b := backoff.Backoff{Base: time.Second, Max: time.Hour}
	for range 5 {
		b.Next()
	}
	b.Reset()
	if got := b.Next(); got > time.Second {
		t.Errorf("the delay after Reset is %v, want at most %v", got, time.Second)
	}
}

func TestNextNeverOverflows(t *testing.T) {
	b := backoff.Backoff{Base: time.Hour, Max: 1<<63 - 1}
	for i := range 200 {
		if got := b.Next(); got < time.Hour/2 {
			t.Fatalf("delay %d is %v", i, got)
		}
	}
}
