// Package backoff spaces out attempts at something that fails.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff doubles its delay with every failure, up to Max, and takes a random
// part off it, so that many callers do not come back at the same instant.
// Its zero value is not usable: Base and Max must be positive.
type Backoff struct {
	Base, Max time.Duration
	failures  int
}

// Next is the delay before the attempt after one more failure. It lies between
// half of the nominal delay and the whole of it.
func (b *Backoff) Next() time.Duration {
	delay := b.Max
	// A shift that overflows gives less than Base.
	if shifted := b.Base << b.failures; b.failures < 63 && shifted >= b.Base && shifted < b.Max {
		delay = shifted
		b.failures++
	}
	return delay/2 + rand.N(delay/2+1)
}

// Reset forgets all failures.
func (b *Backoff) Reset() {
	b.failures = 0
}
