package encode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// recording keeps what an encoder was given and gave.
type recording struct {
	codec   Codec
	data    [][]byte
	sources []yuv.Picture // of the units in data
}

// encode encodes p and keeps both.
func (r *recording) encode(t *testing.T, e Encoder, p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (isKey bool) {
	t.Helper()
	return r.add(t, p, func() ([]byte, bool, error) { return encodeOrRefine(e, p, damage, key || len(r.data) == 0, at) })
}

// add keeps p and what it is encoded to.
func (r *recording) add(t *testing.T, p *yuv.Picture, encode func() ([]byte, bool, error)) (isKey bool) {
	t.Helper()
	data, isKey, err := encode()
	if err != nil {
		t.Fatalf("%s: %v", r.codec, err)
	}
	if len(data) > 0 {
		r.data = append(r.data, bytes.Clone(data))
		kept := *p
		if r.codec == H264 { // knows even sizes only
			kept.Size = p.Pad()
		}
		kept.Y, kept.U, kept.V = bytes.Clone(p.Y), bytes.Clone(p.U), bytes.Clone(p.V)
		r.sources = append(r.sources, kept)
	}
	return isKey
}

// decode has ffmpeg decode all units, and returns as many pictures.
func (r *recording) decode(t *testing.T) []yuv.Picture {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	stream, format := r.stream()
	if err := os.WriteFile(in, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	ffmpeg := exec.Command("ffmpeg", "-v", "error", "-threads", "1", "-f", format, "-i", in,
		"-autoscale", "0", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", out)
	if said, err := ffmpeg.CombinedOutput(); err != nil || len(said) > 0 {
		t.Fatalf("%s: ffmpeg: %v\n%s", r.codec, err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var pictures []yuv.Picture
	for i := range r.sources {
		size := r.sources[i].Size
		c := image.Pt((size.X+1)/2, (size.Y+1)/2)
		luma, chroma := size.X*size.Y, c.X*c.Y
		if len(raw) < luma+2*chroma {
			t.Fatalf("%s: %d units gave %d pictures", r.codec, len(r.sources), i)
		}
		pictures = append(pictures, yuv.Picture{
			Y: raw[:luma], U: raw[luma:][:chroma], V: raw[luma+chroma:][:chroma],
			StrideY: size.X, StrideC: c.X, Size: size,
		})
		raw = raw[luma+2*chroma:]
	}
	if len(raw) != 0 {
		t.Fatalf("%s: %d bytes of pictures too many", r.codec, len(raw))
	}
	return pictures
}

// stream is all units as a file, and the name of its format.
func (r *recording) stream() (file []byte, format string) {
	if r.codec == H264 {
		return bytes.Join(r.data, nil), "h264"
	}
	return ivf(r.codec, r.sources[0].Size, r.data), "ivf"
}

func ivf(codec Codec, size image.Point, data [][]byte) []byte {
	fourcc := map[Codec]string{VP8: "VP80", VP9: "VP90", AV1: "AV01"}[codec]
	file := append([]byte("DKIF\x00\x00\x20\x00"), fourcc...)
	le := binary.LittleEndian
	file = le.AppendUint16(file, uint16(size.X))
	file = le.AppendUint16(file, uint16(size.Y))
	file = le.AppendUint32(file, 30)
	file = le.AppendUint32(file, 1)
	file = le.AppendUint32(file, uint32(len(data)))
	file = le.AppendUint32(file, 0)
	for i, d := range data {
		file = le.AppendUint32(file, uint32(len(d)))
		file = le.AppendUint64(file, uint64(i))
		file = append(file, d...)
	}
	return file
}

// psnr compares two planes of one size, in dB; 99 if they are equal.
func psnr(a []byte, strideA int, b []byte, strideB int, size image.Point) float64 {
	var sum float64
	for y := range size.Y {
		for x := range size.X {
			d := float64(a[y*strideA+x]) - float64(b[y*strideB+x])
			sum += d * d
		}
	}
	return decibel(sum, size.X*size.Y)
}

func decibel(sum float64, n int) float64 {
	if sum == 0 {
		return 99
	}
	return 10 * math.Log10(255*255*float64(n)/sum)
}

// textBlocks calls each for the 8x8 blocks of a whose contrast is that of text.
func textBlocks(a *yuv.Picture, each func(x, y int)) {
	for y := 0; y+8 <= a.Size.Y; y += 8 {
		for x := 0; x+8 <= a.Size.X; x += 8 {
			low, high := byte(255), byte(0)
			for i := range 64 {
				p := a.Y[(y+i/8)*a.StrideY+x+i%8]
				low, high = min(low, p), max(high, p)
			}
			if high-low >= 96 {
				each(x, y)
			}
		}
	}
}

// textPSNR compares the luma of those 8x8 blocks whose contrast in a is that
// of text; 99 if there are none.
func textPSNR(a, b *yuv.Picture) float64 {
	var sum float64
	n := 0
	textBlocks(a, func(x, y int) {
		for i := range 64 {
			d := float64(a.Y[(y+i/8)*a.StrideY+x+i%8]) - float64(b.Y[(y+i/8)*b.StrideY+x+i%8])
			sum += d * d
		}
		n += 64
	})
	return decibel(sum, n)
}

// textSSIM is the mean structural similarity of the same blocks, 1 if there are
// none.
func textSSIM(a, b *yuv.Picture) float64 {
	const c1, c2 = 0.01 * 255 * 0.01 * 255, 0.03 * 255 * 0.03 * 255
	var sum float64
	n := 0
	textBlocks(a, func(x, y int) {
		var p, q, pp, qq, pq float64
		for i := range 64 {
			u, v := float64(a.Y[(y+i/8)*a.StrideY+x+i%8]), float64(b.Y[(y+i/8)*b.StrideY+x+i%8])
			p, q, pp, qq, pq = p+u/64, q+v/64, pp+u*u/64, qq+v*v/64, pq+u*v/64
		}
		sum += (2*p*q + c1) * (2*(pq-p*q) + c2) / ((p*p + q*q + c1) * (pp - p*p + qq - q*q + c2))
		n++
	})
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}

// wantLike fails the test if a picture differs more than floor from its source.
func (r *recording) wantLike(t *testing.T, got []yuv.Picture, i int, floor float64) {
	t.Helper()
	p := psnr(r.sources[i].Y, r.sources[i].StrideY, got[i].Y, got[i].StrideY, got[i].Size)
	if p < floor {
		t.Errorf("%s %v: unit %d of %d has %.1f dB, want %.1f", r.codec, got[i].Size, i, len(got), p, floor)
	}
}

// eachCodec runs a test for every codec of this build.
func eachCodec(t *testing.T, test func(t *testing.T, open func(bitrate int) (Encoder, *recording))) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Fatal("ffmpeg is missing (Debian package ffmpeg): ", err)
	}
	for _, name := range Available() {
		t.Run(string(name), func(t *testing.T) {
			test(t, func(bitrate int) (Encoder, *recording) {
				e, _, err := NewEncoder(name, bitrate, 30)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { e.Close() })
				return e, &recording{codec: name}
			})
		})
	}
}

func TestAnySizeAndItsChangeInFlight(t *testing.T) {
	sizes := []image.Point{{320, 240}, {16, 16}, {161, 99}, {17, 33}, {640, 360}, {319, 241}}
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(4e6)
		at := time.Now()
		var starts []int
		for _, size := range sizes {
			d := newDesk(size)
			d.page(d.img.Rect)
			all := capture.Everywhere()
			starts = append(starts, len(r.data))
			var p yuv.Picture
			for i := range 8 {
				yuv.Convert(&p, d.frame, &all)
				isKey := r.encode(t, e, &p, &d.damage, false, at)
				if i == 0 && !isKey {
					t.Errorf("%s: the first picture of %v is no key frame", r.codec, size)
				}
				d.damage.Clear()
				at = at.Add(time.Second / 30)
			}
		}
		got := r.decode(t)
		for i, start := range starts {
			end := len(got)
			if i+1 < len(starts) {
				end = starts[i+1]
			}
			if end-start < 2 {
				t.Errorf("%s: %d units of %v", r.codec, end-start, sizes[i])
			}
			r.wantLike(t, got, end-1, 30)
		}
	})
}

func TestForcedKeyframe(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(2e6)
		d := newDesk(image.Pt(320, 180))
		d.page(d.img.Rect)
		var p yuv.Picture
		at := time.Now()
		var keys []int
		for i := range 40 {
			d.text(image.Pt(8*i, 90), fmt.Sprint(i%10), ink)
			yuv.Convert(&p, d.frame, &d.damage)
			if r.encode(t, e, &p, &d.damage, i == 17, at) {
				keys = append(keys, i)
			}
			d.damage.Clear()
			at = at.Add(time.Second / 30)
		}
		if len(keys) != 2 || keys[0] != 0 || keys[1] != 17 {
			t.Fatalf("%s: key frames at %v, want 0 and 17 only", r.codec, keys)
		}
		// A player that comes in at the key frame sees the picture.
		n := len(r.data) - (40 - 17)
		r.data, r.sources = r.data[n:], r.sources[n:]
		got := r.decode(t)
		r.wantLike(t, got, len(got)-1, 32)
	})
}

// TestImpossibleSizes asks each codec for pictures beyond its library's limits:
// an error says so, and the encoder goes on with one that it can.
func TestImpossibleSizes(t *testing.T) {
	sizes := map[Codec]image.Point{VP8: {16400, 16}, VP9: {65600, 2}, AV1: {65600, 2}, H264: {8, 8}}
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(4e6)
		size := sizes[r.codec]
		var p yuv.Picture
		p.Reset(size)
		all := capture.Everywhere()
		at := time.Now()
		for range 2 {
			data, _, err := e.Encode(&p, &all, true, at)
			if err == nil || len(data) > 0 || !strings.Contains(err.Error(), fmt.Sprintf("%dx%d", size.X, size.Y)) {
				t.Errorf("%s: %v gives %d bytes, %v", r.codec, size, len(data), err)
			}
			at = at.Add(time.Second)
		}
		d := newDesk(image.Pt(64, 48))
		d.page(d.img.Rect)
		yuv.Convert(&p, d.frame, &all)
		if !r.encode(t, e, &p, &all, false, at) {
			t.Errorf("%s: the first picture is no key frame", r.codec)
		}
		r.wantLike(t, r.decode(t), 0, 25)
	})
}
