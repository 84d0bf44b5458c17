//go:build unix

package main

import (
	"os"
	"syscall"
)

// pauseSignals pause the streams and go on with them.
var pauseSignals = []os.Signal{syscall.SIGUSR1}
