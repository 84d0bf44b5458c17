// Package aom encodes AV1 with libaom, set for screens in real time. The build
// tag noaom leaves it empty.
package aom
