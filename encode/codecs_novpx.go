//go:build novpx

package encode

var vpxCodecs []codec
