//go:build !unix

package main

import "os"

// pauseSignals: there are none here.
var pauseSignals []os.Signal
