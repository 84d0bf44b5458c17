//go:build !noopenh264

package encode

import "deskwhep/encode/openh264"

var openh264Codecs = []codec{{
	name:       H264,
	library:    "OpenH264 " + openh264.Version(),
	encoder:    func(bitrate, fps int) Encoder { return openh264.New(bitrate, fps) },
	packetizer: func() Packetizer { return H264Packetizer{} },
}}
