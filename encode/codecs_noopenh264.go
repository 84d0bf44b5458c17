//go:build noopenh264

package encode

var openh264Codecs []codec
