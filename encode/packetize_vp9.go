package encode

import (
	"encoding/binary"
	"image"
)

// VP9Packetizer makes payloads after RFC 9628 section 4.2 in flexible mode,
// with the temporal layer and a 15-bit picture id. Every picture but a key frame
// depends on the last one of layer 0; a key frame tells its size in a
// scalability structure. The zero value is ready.
type VP9Packetizer struct {
	pictureID uint16 // 15 bits
	base      uint16 // pictureID of the last picture of layer 0
}

const (
	vp9HasPictureID = 0x80 // I
	vp9Predicted    = 0x40 // P
	vp9HasLayer     = 0x20 // L
	vp9Flexible     = 0x10 // F
	vp9Begin        = 0x08 // B
	vp9End          = 0x04 // E
	vp9HasStructure = 0x02 // V

	vp9LongPictureID = 0x80   // M: 15 bits
	vp9SwitchUp      = 1 << 4 // U: what follows refers to nothing above layer 0 before it
	vp9HasSize       = 1 << 4 // Y, with N_S 0: one spatial layer
)

// Packetize implements Packetizer.
func (p *VP9Packetizer) Packetize(data []byte, key bool, layer uint8) ([][]byte, error) {
	var size image.Point
	header, structure := 5, 0
	if key {
		header = 4
		if size = vp9Size(data); size != (image.Point{}) {
			structure = 5
		}
	}
	payloads := split(data, header, structure, func(b []byte, first, last bool) {
		b[0] = vp9HasPictureID | vp9HasLayer | vp9Flexible
		b[1], b[2] = vp9LongPictureID|byte(p.pictureID>>8), byte(p.pictureID)
		b[3] = layer<<5 | vp9SwitchUp // TID; SID 0, D 0
		if !key {
			b[0] |= vp9Predicted
			b[4] = byte(p.pictureID-p.base) << 1 // P_DIFF; N 0: no more references
		}
		if first {
			b[0] |= vp9Begin
			if structure > 0 {
				b[0] |= vp9HasStructure
				b[4] = vp9HasSize
				binary.BigEndian.PutUint16(b[5:], uint16(size.X))
				binary.BigEndian.PutUint16(b[7:], uint16(size.Y))
			}
		}
		if last {
			b[0] |= vp9End
		}
	})
	if layer == 0 {
		p.base = p.pictureID
	}
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
