// Package encode turns raw frames into encoded units, key frames when owed, and
// gives each unit to every viewer.
package encode

import (
	"image"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// Codec names a video codec as the command line does.
type Codec string

const (
	VP8  Codec = "vp8"
	VP9  Codec = "vp9"
	AV1  Codec = "av1"
	H264 Codec = "h264"
)

// MaxPayload bounds one RTP payload in bytes: with an RTP header of 12 bytes
// and up to 28 bytes of header extensions a packet stays within 1200 bytes.
const MaxPayload = 1160

// Unit is one encoded picture, packetized once. It is shared by all viewers and
// never written to again.
type Unit struct {
	Seq      uint64      // +1 for each unit of a hub
	Key      bool        // decodable without any unit before it
	Captured time.Time   // when the pixels were read; the RTP time
	Size     image.Point // of the picture
	Layer    uint8       // temporal; nothing refers to a unit of the TopLayer
	Payloads [][]byte    // RTP payloads in order; the last one takes the marker
	Bytes    int         // sum of the payloads
}

// TopLayer is the highest temporal layer. Its units can be left out, each by
// itself; what remains is layer 0.
const TopLayer = 1

// Encoder encodes pictures of one codec. One goroutine uses it. While a call runs p
// is the encoder's, which may change its content; it is as before afterwards.
type Encoder interface {
	// Encode encodes p, of which damage is what changed since the last call that
	// gave data. With key the result is a key frame, as is the first; otherwise
	// damage is not empty. A size other than the last call's starts a new coded
	// size in flight. at is the time for the rate control, and increases. data
	// is the encoder's and valid until the next call; it is empty if the encoder
	// dropped the picture.
	Encode(p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error)
	// Refine encodes p again, which has not changed since the last call that
	// gave data: as much sharper as about room bytes can make it. more tells
	// that another call would make it sharper still.
	Refine(p *yuv.Picture, room int, at time.Time) (data []byte, more bool, err error)
	SetBitrate(bitsPerSecond int) error
	Close() error
}

// SpareEncoder is an Encoder that knows temporal layers.
type SpareEncoder interface {
	// EncodeSpare is like Encode, for a picture of the TopLayer. What changed in
	// it goes into the next picture as well.
	EncodeSpare(p *yuv.Picture, damage *capture.Damage, at time.Time) (data []byte, isKey bool, err error)
}

// Preparer is an Encoder whose first picture comes sooner if its size is known
// before.
type Preparer interface {
	// Prepare makes ready for pictures of a size. It is called before the first
	// Encode, if at all; what goes wrong shows there.
	Prepare(size image.Point)
}
