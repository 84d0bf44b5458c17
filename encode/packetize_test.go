package encode

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/pion/rtp/codecs"
)

// wantEqualParts checks what segmentation by the kernel needs.
func wantEqualParts(t *testing.T, payloads [][]byte) {
	t.Helper()
	for i, p := range payloads {
		switch {
		case len(p) == 0 || len(p) > MaxPayload:
			t.Fatalf("payload %d of %d has %d bytes", i, len(payloads), len(p))
		case i < len(payloads)-1 && len(p) != len(payloads[0]), len(p) > len(payloads[0]):
			t.Fatalf("payload %d of %d has %d bytes, the first %d", i, len(payloads), len(p), len(payloads[0]))
		}
	}
}

func TestVP8Payloads(t *testing.T) {
	var p VP8Packetizer
	p.pictureID = 0x7ffe // wraps
	p.tl0 = 0xff
	rnd := rand.New(rand.NewPCG(1, 1))
	for i, size := range []int{1, 7, MaxPayload - 6, MaxPayload - 5, 2500, 100_000} {
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		payloads, err := p.Packetize(data, false)
		if err != nil {
			t.Fatal(err)
		}
		wantEqualParts(t, payloads)
		var got []byte
		for j, payload := range payloads {
			var v codecs.VP8Packet
			part, err := v.Unmarshal(payload)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
			if int(v.S) != 1-min(j, 1) || v.PID != 0 || v.TID != 0 ||
				v.PictureID != uint16(0x7ffe+i)&0x7fff || v.TL0PICIDX != byte(0xff+i) {
				t.Fatalf("packet %d of picture %d: %+v", j, i, v)
			}
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came out as %d others", size, len(got))
		}
	}
}
