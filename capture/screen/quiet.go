//go:build unix && !darwin

package screen

import (
	"io"

	"github.com/jezek/xgb"
)

// The X library beneath says on stderr, for each picture, that there is no
// authority file.
func init() { xgb.Logger.SetOutput(io.Discard) }
