package x11

import (
	"io"

	"github.com/jezek/xgb"
)

// The reference's X library says on stderr, for each picture, that there is no
// authority file.
func init() { xgb.Logger.SetOutput(io.Discard) }
