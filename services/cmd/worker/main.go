// Worker fulfils the storefront's pending orders. It listens on no port.
package main

import (
	"context"
	"log/slog"
	"os"

	"example.com/storefront/internal/service"
	"example.com/storefront/internal/worker"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main("worker", version, func(ctx context.Context, logger *slog.Logger) error {
		return worker.Run(ctx, logger)
	}))
}
