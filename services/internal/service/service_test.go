package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
)

func TestStart(t *testing.T) {
	ok := func(context.Context, *slog.Logger) error { return nil }
	bad := func(context.Context, *slog.Logger) error { return errors.New("no store") }
	tests := []struct {
		name string
		args []string
		run  func(context.Context, *slog.Logger) error
		code int
	}{
		{"a clean stop", nil, ok, 0},
		{"an error", nil, bad, 1},
		{"an unknown flag", []string{"-x"}, ok, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if got := start(t.Context(), "orders", "1.2.3", tt.args, &stdout, &stderr, tt.run); got != tt.code {
				t.Errorf("start() = %d, want %d", got, tt.code)
			}
		})
	}
}

func TestStartPrintsVersion(t *testing.T) {
	run := func(context.Context, *slog.Logger) error {
		t.Error("the service was run")
		return nil
	}
	var stdout, stderr bytes.Buffer
	if code := start(t.Context(), "orders", "1.2.3", []string{"-version"}, &stdout, &stderr, run); code != 0 {
		t.Errorf("start() = %d, want 0", code)
	}
	if got := stdout.String(); got != "1.2.3\n" {
		t.Errorf("printed %q", got)
	}
}

func TestStartLogsJSON(t *testing.T) {
	t.Setenv("APP_ENV", "staging")
	var stdout, stderr bytes.Buffer
	start(t.Context(), "orders", "1.2.3", nil, &stdout, &stderr, func(_ context.Context, logger *slog.Logger) error {
		logger.Info("hello")
		return nil
	})
	lines := bytes.Split(bytes.TrimSpace(stdout.Bytes()), []byte("\n"))
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3: %s", len(lines), stdout.Bytes())
	}
	for _, line := range lines {
		var entry struct{ Service, Version, Environment string }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if entry.Service != "orders" || entry.Version != "1.2.3" || entry.Environment != "staging" {
			t.Errorf("%s", line)
		}
	}
}
