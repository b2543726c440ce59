package env_test

import (
	"testing"
	"time"

	"example.com/storefront/internal/env"
)

func TestString(t *testing.T) {
	if got := env.String("STOREFRONT_TEST", "x"); got != "x" {
		t.Errorf("unset: %q, want the fallback", got)
	}
	t.Setenv("STOREFRONT_TEST", "y")
	if got := env.String("STOREFRONT_TEST", "x"); got != "y" {
		t.Errorf("set: %q, want y", got)
	}
}

func TestPort(t *testing.T) {
	tests := []struct {
		value string
		want  uint16
		ok    bool
	}{
		{"", 8080, true},
		{"1", 1, true},
		{"65535", 65535, true},
		{"0", 0, false},
		{"65536", 0, false},
		{"-1", 0, false},
		{"http", 0, false},
	}
	for _, tt := range tests {
		t.Setenv("STOREFRONT_TEST", tt.value)
		got, err := env.Port("STOREFRONT_TEST", 8080)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("Port with %q = %d, %v", tt.value, got, err)
		}
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"", time.Minute, true},
		{"250ms", 250 * time.Millisecond, true},
		{"0s", 0, true},
		{"-1s", 0, false},
		{"5", 0, false},
	}
	for _, tt := range tests {
		t.Setenv("STOREFRONT_TEST", tt.value)
		got, err := env.Duration("STOREFRONT_TEST", time.Minute)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("Duration with %q = %v, %v", tt.value, got, err)
		}
	}
}
