package encode

// VP8Packetizer makes payloads after RFC 7741 section 4.2. The descriptor has
// the temporal layer and a 15-bit picture id, six bytes in every packet. The
// zero value is ready.
type VP8Packetizer struct {
	pictureID uint16 // 15 bits
	tl0       uint8  // TL0PICIDX of the next picture of layer 0
}

const (
	vp8Extended = 0x80 // X: the extension byte follows
	vp8Spare    = 0x20 // N: no reference for others
	vp8Start    = 0x10 // S: start of a partition, with PID 0

	vp8HasPictureID = 0x80 // I
	vp8HasTL0PicIdx = 0x40 // L
	vp8HasTID       = 0x20 // T

	vp8LongPictureID = 0x80 // M: 15 bits
	vp8Sync          = 0x20 // Y: refers to layer 0 only
)

// Packetize implements Packetizer.
func (p *VP8Packetizer) Packetize(data []byte, _ bool, layer uint8) ([][]byte, error) {
	head, tl0, tid := byte(vp8Extended), p.tl0, byte(0)
	if layer > 0 {
		head |= vp8Spare
		tl0-- // of the picture that it refers to
		tid = layer<<6 | vp8Sync
	} else {
		p.tl0++
	}
	payloads := split(data, 6, 0, func(b []byte, first, _ bool) {
		b[0] = head
		if first {
			b[0] |= vp8Start
		}
		b[1] = vp8HasPictureID | vp8HasTL0PicIdx | vp8HasTID
		b[2], b[3] = vp8LongPictureID|byte(p.pictureID>>8), byte(p.pictureID)
		b[4], b[5] = tl0, tid // KEYIDX unused
	})
	p.pictureID = (p.pictureID + 1) & 0x7fff
	return payloads, nil
}
