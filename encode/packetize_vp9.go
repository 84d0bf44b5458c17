package encode

import (
	"encoding/binary"
	"image"
)

// VP9Packetizer makes payloads after RFC 9628 section 4.2 in flexible mode,
// with a 15-bit picture id. Every picture but a key frame depends on the one
// before it; a key frame tells its size in a scalability structure. The zero
// value is ready.
type VP9Packetizer struct {
	pictureID uint16 // 15 bits
}

const (
	vp9HasPictureID = 0x80 // I
	vp9Predicted    = 0x40 // P
	vp9Flexible     = 0x10 // F
	vp9Begin        = 0x08 // B
	vp9End          = 0x04 // E
	vp9HasStructure = 0x02 // V

	vp9LongPictureID = 0x80   // M: 15 bits
	vp9OneBefore     = 1 << 1 // P_DIFF 1, N 0: no more references
	vp9HasSize       = 1 << 4 // Y, with N_S 0: one spatial layer
)

// Packetize implements Packetizer.
func (p *VP9Packetizer) Packetize(data []byte, key bool) ([][]byte, error) {
	var size image.Point
	header, structure := 4, 0
	if key {
		header = 3
		if size = vp9Size(data); size != (image.Point{}) {
			structure = 5
		}
	}
	payloads := split(data, header, structure, func(b []byte, first, last bool) {
		b[0] = vp9HasPictureID | vp9Flexible
		b[1], b[2] = vp9LongPictureID|byte(p.pictureID>>8), byte(p.pictureID)
		if !key {
			b[0] |= vp9Predicted
			b[3] = vp9OneBefore
		}
		if first {
			b[0] |= vp9Begin
			if structure > 0 {
				b[0] |= vp9HasStructure
				b[3] = vp9HasSize
				binary.BigEndian.PutUint16(b[4:], uint16(size.X))
				binary.BigEndian.PutUint16(b[6:], uint16(size.Y))
			}
		}
		if last {
			b[0] |= vp9End
		}
	})
	p.pictureID = (p.pictureID + 1) & 0x7fff
	return payloads, nil
}

// vp9Size reads the size out of a profile 0 key frame's uncompressed header
// (VP9 bitstream specification section 6.2); zero if it is none.
func vp9Size(data []byte) image.Point {
	// frame_marker 2, profile 0, show_existing_frame 0, frame_type 0 (key);
	// then the sync code; color_space 3 bits, color_range 1 (none for sRGB);
	// then width-1 and height-1 in 16 bits each, 4 bits off the byte border.
	if len(data) < 9 || data[0]&0xfc != 0x80 || data[1] != 0x49 || data[2] != 0x83 || data[3] != 0x42 {
		return image.Point{}
	}
	at4 := func(i int) int { return int(data[i]&0x0f)<<12 | int(data[i+1])<<4 | int(data[i+2])>>4 }
	return image.Pt(at4(4)+1, at4(6)+1)
}
