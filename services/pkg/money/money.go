// Package money writes amounts of cents for people. The services speak in
// cents; this is for the programs of other modules that print their totals.
package money

import (
	"fmt"
	"strconv"
)

// Format writes cents with two decimals and thousands apart: 1234567 is
// "12,345.67".
func Format(cents int64) string {
	sign := ""
	// The smallest int64 has no positive twin: the conversion keeps it right.
	magnitude := uint64(cents)
	if cents < 0 {
		sign, magnitude = "-", -magnitude
	}
	whole := strconv.FormatUint(magnitude/100, 10)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return fmt.Sprintf("%s%s.%02d", sign, whole, magnitude%100)
}
