// Package bare runs the encoder libraries and libyuv from C alone, with this
// project's settings, so that benchmarks can tell what the Go around them
// costs. Nothing but benchmarks uses it.
package bare
