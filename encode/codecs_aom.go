//go:build !noaom

package encode

import "deskwhep/encode/aom"

var aomCodecs = []codec{{
	name:       AV1,
	library:    "libaom " + aom.Version(),
	encoder:    func(bitrate, fps int) Encoder { return aom.New(bitrate, fps) },
	packetizer: func() Packetizer { return AV1Packetizer{} },
}}
