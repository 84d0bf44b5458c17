// Package encodetest makes hubs without a screen and a codec, for tests and
// benchmarks of what stands behind them.
package encodetest

import (
	"context"
	"crypto/rand"
	"image"
	"log/slog"
	"time"

	"deskwhep/capture"
	"deskwhep/encode"
	"deskwhep/encode/yuv"
)

// KeyMark is the first byte of the data of a key frame, and of no other's.
const KeyMark = 0x10

// Source is the tap and the encoder of one hub: each tick makes a unit of
// random bytes, packetized as VP8, in layers when the hub wants them.
type Source struct {
	ticks      chan struct{} // one slot; never closed
	key, delta []byte
	frame      *capture.Frame
}

// New makes a source whose key frames and other frames have so many bytes.
func New(key, delta int) *Source {
	s := &Source{ticks: make(chan struct{}, 1), key: make([]byte, key), delta: make([]byte, delta)}
	rand.Read(s.key)
	rand.Read(s.delta)
	s.key[0], s.delta[0] = KeyMark, KeyMark+1
	s.frame = capture.NewFrame(func(*capture.Frame) {})
	s.frame.Size, s.frame.Stride, s.frame.Format = image.Pt(16, 16), 64, capture.BGRX
	s.frame.Pix = make([]byte, 64*16)
	return s
}

// Hub makes the source's one hub.
func (s *Source) Hub(log *slog.Logger) *encode.Hub {
	return encode.NewHub(encode.HubConfig{
		Watch: func() encode.Tap { return tap{s} },
		Open: func() (encode.Encoder, encode.Packetizer, error) {
			return encoder{s}, &encode.VP8Packetizer{}, nil
		},
		FPS: 1000, Linger: time.Minute, Log: log,
	})
}

// Tick makes a unit; false if the last tick has not been served yet.
func (s *Source) Tick() bool {
	select {
	case s.ticks <- struct{}{}:
		return true
	default:
		return false
	}
}

type tap struct{ *Source }

// Next implements encode.Tap.
func (s tap) Next(ctx context.Context) (capture.Update, error) {
	select {
	case <-s.ticks:
	case <-ctx.Done():
		return capture.Update{}, ctx.Err()
	}
	s.frame.Lend()
	s.frame.Captured = time.Now()
	return capture.Update{Frame: s.frame, Damage: capture.Everywhere()}, nil
}

// Close implements encode.Tap.
func (tap) Close() {}

type encoder struct{ *Source }

// Encode implements encode.Encoder.
func (s encoder) Encode(_ *yuv.Picture, _ *capture.Damage, key bool, _ time.Time) ([]byte, bool, error) {
	if key {
		return s.key, true, nil
	}
	return s.delta, false, nil
}

// EncodeSpare implements encode.SpareEncoder.
func (s encoder) EncodeSpare(*yuv.Picture, *capture.Damage, time.Time) ([]byte, bool, error) {
	return s.delta, false, nil
}

// Refine implements encode.Encoder.
func (s encoder) Refine(*yuv.Picture, int, time.Time) ([]byte, bool, error) {
	return s.delta, false, nil
}

// SetBitrate implements encode.Encoder.
func (encoder) SetBitrate(int) error { return nil }

// Close implements encode.Encoder.
func (encoder) Close() error { return nil }
