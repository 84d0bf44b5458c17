//go:build !novpx

package encode

import "deskwhep/encode/vpx"

var vpxCodecs = []codec{{
	name:       VP9,
	library:    "libvpx " + vpx.Version(),
	encoder:    func(bitrate, fps int) Encoder { return vpx.NewVP9(bitrate, fps) },
	packetizer: func() Packetizer { return new(VP9Packetizer) },
}, {
	name:       VP8,
	library:    "libvpx " + vpx.Version(),
	encoder:    func(bitrate, fps int) Encoder { return vpx.NewVP8(bitrate, fps) },
	packetizer: func() Packetizer { return new(VP8Packetizer) },
}}
