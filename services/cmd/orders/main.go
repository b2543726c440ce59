// Orders keeps the storefront's orders behind an HTTP API.
package main

import (
	"context"
	"log/slog"
	"os"

	"example.com/storefront/internal/orders"
	"example.com/storefront/internal/service"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main("orders", version, func(ctx context.Context, logger *slog.Logger) error {
		return orders.Run(ctx, version, logger)
	}))
}
