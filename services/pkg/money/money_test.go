package money_test

import (
	"fmt"
	"math"
	"testing"

	"example.com/storefront/pkg/money"
)

func TestFormat(t *testing.T) {
	tests := []struct {
		cents int64
		want  string
	}{
		{0, "0.00"},
		{5, "0.05"},
		{-5, "-0.05"},
		{99_999, "999.99"},
		{100_000, "1,000.00"},
		{123_456_789, "1,234,567.89"},
		{math.MinInt64, "-92,233,720,368,547,758.08"},
	}
	for _, tt := range tests {
		if got := money.Format(tt.cents); got != tt.want {
			t.Errorf("Format(%d) = %q, want %q", tt.cents, got, tt.want)
		}
	}
}

func ExampleFormat() {
	fmt.Println(money.Format(1_234_567))
	// Output: 12,345.67
}
