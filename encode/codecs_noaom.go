//go:build noaom

package encode

var aomCodecs []codec
