package encode

import (
	"fmt"
	"slices"
	"time"
)

// codec is what this build can do with a codec.
type codec struct {
	name       Codec
	library    string // with its version
	encoder    func(bitrate, fps int) Encoder
	packetizer func() Packetizer
}

// supported is what has not been left out by build tags.
var supported = slices.Concat(vpxCodecs, openh264Codecs, aomCodecs)

// Available lists the codecs of this build.
func Available() []Codec {
	names := make([]Codec, len(supported))
	for i, c := range supported {
		names[i] = c.name
	}
	return names
}

// Libraries lists the encoder libraries of this build with their versions.
func Libraries() []string {
	var names []string
	for _, c := range supported {
		if !slices.Contains(names, c.library) {
			names = append(names, c.library)
		}
	}
	return names
}

// KeyInterval is the shortest time between two key frames of a codec; for
// HubConfig.
func KeyInterval(name Codec) time.Duration {
	if name == VP8 || name == VP9 {
		return 300 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// NewEncoder makes an encoder that aims at a bitrate in bit/s with at most fps
// pictures a second, and the packetizer that belongs to it.
func NewEncoder(name Codec, bitrate, fps int) (Encoder, Packetizer, error) {
	for _, c := range supported {
		if c.name == name {
			return c.encoder(bitrate, fps), c.packetizer(), nil
		}
	}
	return nil, nil, fmt.Errorf("codec %q is not in this build; it has %v", name, Available())
}
