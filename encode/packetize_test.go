package encode

import (
	"bytes"
	"image"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"deskwhep/encode/yuv"
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
		payloads, err := p.Packetize(data, false, 0)
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

// depacketize puts units back together as a player does, with an independent
// implementation. The result is what a decoder takes.
func depacketize(t *testing.T, codec Codec, units [][][]byte) [][]byte {
	t.Helper()
	var depacketizer rtp.Depacketizer
	switch codec {
	case VP8:
		depacketizer = &codecs.VP8Packet{}
	case VP9:
		depacketizer = &codecs.VP9Packet{}
	case H264:
		depacketizer = &codecs.H264Packet{}
	case AV1:
		depacketizer = &codecs.AV1Depacketizer{}
	}
	var out [][]byte
	for _, payloads := range units {
		var data []byte
		for i, p := range payloads {
			if first := depacketizer.IsPartitionHead(p); first != (i == 0) && codec != H264 {
				t.Fatalf("%s: packet %d of %d looks like the first: %v", codec, i, len(payloads), first)
			}
			part, err := depacketizer.Unmarshal(p)
			if err != nil {
				t.Fatalf("%s: packet %d of %d: %v", codec, i, len(payloads), err)
			}
			data = append(data, part...)
		}
		out = append(out, data)
	}
	return out
}

func TestPayloadsOfEveryCodecDecode(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(8e6)
		_, packetizer, err := NewEncoder(r.codec, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(image.Pt(640, 361))
		d.page(d.img.Rect)
		var p yuv.Picture
		var units [][][]byte
		at := time.Now()
		for i := range 30 {
			d.scroll(d.img.Rect, 7)
			yuv.Convert(&p, d.frame, &d.damage)
			n := len(r.data)
			key := r.encode(t, e, &p, &d.damage, i == 11, at)
			d.damage.Clear()
			at = at.Add(time.Second / 30)
			if len(r.data) == n {
				continue
			}
			payloads, err := packetizer.Packetize(r.data[n], key, 0)
			if err != nil {
				t.Fatal(err)
			}
			parts := payloads
			if r.codec == H264 && key {
				if typ := payloads[0][0] & nalTypeMask; typ != nalSTAPA {
					t.Fatalf("a key frame begins with a NAL unit of type %d", typ)
				}
				parts = payloads[1:]
			}
			wantEqualParts(t, parts)
			if key && len(parts) < 4 {
				t.Fatalf("%s: a key frame of %d packets proves little", r.codec, len(parts))
			}
			if v9 := (codecs.VP9Packet{}); r.codec == VP9 {
				v9.Unmarshal(payloads[0])
				if !v9.B || v9.P == key || v9.V != key || key && (v9.Width[0] != 640 || v9.Height[0] != 361) {
					t.Fatalf("key %v: %+v", key, v9)
				}
			}
			units = append(units, payloads)
		}
		before := r.decode(t)
		r.data = depacketize(t, r.codec, units)
		after := r.decode(t)
		for i := range after {
			if d := psnr(before[i].Y, before[i].StrideY, after[i].Y, after[i].StrideY, after[i].Size); d != 99 {
				t.Fatalf("unit %d decodes to something else after its journey: %.1f dB", i, d)
			}
		}
	})
}
