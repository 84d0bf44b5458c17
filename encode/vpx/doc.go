// Package vpx encodes VP8 and VP9 with libvpx, set for screens in real time.
// The build tag novpx leaves it empty.
package vpx
