// Package openh264 encodes H.264 with OpenH264, set for screens in real time.
// The build tag noopenh264 leaves it empty.
package openh264
