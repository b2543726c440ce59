// Package env reads settings from the environment, with defaults.
package env

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// String returns the value of name, or fallback where it is unset or empty.
func String(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// Port returns the value of name as a TCP port.
func Port(name string, fallback uint16) (uint16, error) {
	value := os.Getenv(name)
	if value == "" {
		return fallback, nil
	}
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%s=%q: want a port, 1 to 65535", name, value)
	}
	return uint16(port), nil
}

// Duration returns the value of name, as 5s or 250ms. It is never negative.
func Duration(name string, fallback time.Duration) (time.Duration, error) {
	value := os.Getenv(name)
	if value == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s=%q: want a duration, as 5s or 250ms", name, value)
	}
	return d, nil
}
