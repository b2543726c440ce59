// Package service is what every main of this module starts with: the version
// flag, the logger, and the context that ends with the process's signals.
package service

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"example.com/storefront/internal/env"
)

// Main runs a service until its context ends and returns the exit code: 0
// after a clean stop, 1 after an error, 2 for wrong usage. The context ends
// with the first SIGINT or SIGTERM; a second one kills the process. Every line
// of the log names the service, its version, and the environment: APP_ENV.
func Main(name, version string, run func(context.Context, *slog.Logger) error) int {
	return start(context.Background(), name, version, os.Args[1:], os.Stdout, os.Stderr, run)
}

func start(
	parent context.Context,
	name, version string,
	args []string,
	stdout, stderr io.Writer,
	run func(context.Context, *slog.Logger) error,
) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	printVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *printVersion {
		fmt.Fprintln(stdout, version)
		return 0
	}

	logger := slog.New(slog.NewJSONHandler(stdout, nil)).With(
		"service", name, "version", version, "environment", env.String("APP_ENV", "development"))
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on the default action is back: a second one kills.
	context.AfterFunc(ctx, stop)

	logger.Info("starting")
	if err := run(ctx, logger); err != nil {
		logger.Error("failed", "error", err)
		return 1
	}
	logger.Info("stopped")
	return 0
}
