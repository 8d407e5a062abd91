//go:build !linux

package usbport

import (
	"context"
	"errors"
	"fmt"
)

// Listen fails: only Linux tells of ports.
func Listen(context.Context, func(string), func(error)) error {
	return fmt.Errorf("the kernel's news of devices: %w", errors.ErrUnsupported)
}
