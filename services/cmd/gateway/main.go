// Gateway is the storefront's front door: the start page and the way to orders.
package main

import (
	"context"
	"log/slog"
	"os"

	"example.com/storefront/internal/gateway"
	"example.com/storefront/internal/service"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(service.Main("gateway", version, func(ctx context.Context, logger *slog.Logger) error {
		return gateway.Run(ctx, version, logger)
	}))
}
