//go:build !linux

package wayland

import (
	"context"
	"fmt"

	"deskwhep/capture"
)

// Source captures nothing on this system.
type Source struct{ capture.Source }

var errSystem = fmt.Errorf("Wayland is captured on Linux only: %w", capture.ErrUnsupported)

// Open fails with an error that wraps capture.ErrUnsupported.
func Open(context.Context, Options) (*Source, error) { return nil, errSystem }

// Outputs fails with an error that wraps capture.ErrUnsupported.
func Outputs(context.Context, Options) ([]Output, error) { return nil, errSystem }
