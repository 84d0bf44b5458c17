package encode

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"deskwhep/capture"
)

// streamStory runs a stream with the codecs of this build on a fake screen. A
// test that needs a codec which is not there is skipped.
func streamStory(t *testing.T, size image.Point, need []Codec, tell func(t *testing.T, s *Stream)) {
	for _, c := range need {
		if !slices.Contains(Available(), c) {
			t.Skip("not in this build: ", c)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := NewStream(StreamConfig{
			Watch:  func() Tap { still := make(screen, 1); still.paintSize(size, capture.Everywhere()); return still },
			Size:   func() image.Point { return size },
			Codecs: []Codec{VP9, H264, VP8, AV1},
			FPS:    30, Bitrate: 4e6,
			Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		tell(t, s)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Join([]Want{{Codec: VP8}}); !errors.Is(err, ErrHubEnded) {
			t.Fatalf("joining after the end: %v", err)
		}
	})
}

func join(t *testing.T, s *Stream, want Codec, wants ...Want) *Viewer {
	t.Helper()
	v, codec, err := s.Join(wants)
	if err != nil || codec != want {
		t.Fatalf("a viewer with %v got %q, %v; want %q", wants, codec, err, want)
	}
	return v
}

func TestViewersShareEncoders(t *testing.T) {
	streamStory(t, image.Pt(64, 32), []Codec{VP8, VP9, H264}, func(t *testing.T, s *Stream) {
		vp8, vp9, h264, av1 := Want{Codec: VP8}, Want{Codec: VP9}, Want{Codec: H264}, Want{Codec: AV1}
		old := join(t, s, VP8, vp8) // knows nothing better
		if !next(t, old).Key {
			t.Fatal("no key frame at first")
		}
		join(t, s, VP8, av1, vp9, vp8) // what runs is preferred
		best := join(t, s, VP9, av1, h264, vp9)
		if !next(t, best).Key {
			t.Fatal("no key frame at first")
		}
		if _, _, err := s.Join([]Want{h264}); !errors.Is(err, ErrBusy) {
			t.Fatalf("a third encoder: %v", err)
		}
		if _, _, err := s.Join([]Want{{Codec: "theora"}}); !errors.Is(err, ErrNoCodec) {
			t.Fatalf("an unknown codec: %v", err)
		}
		if st := s.Status(); len(st) != 2 || st[0].Codec != VP9 || st[1].Codec != VP8 || st[1].Viewers != 2 {
			t.Fatalf("status %+v", st)
		}

		best.Close() // its encoder lingers, which keeps nobody out
		third := join(t, s, H264, h264)
		if !next(t, third).Key {
			t.Fatal("no key frame at first")
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if st := s.Status(); len(st) != 2 || st[0].Codec != H264 {
			t.Fatalf("after the linger: %+v", st)
		}
		if n := s.Totals()[VP9]; n.Keys != 1 || n.KeyReasons["join"] != 1 {
			t.Fatalf("what VP9 did is forgotten: %+v", n)
		}
	})
}

func TestViewerThatTakesSmallPicturesOnly(t *testing.T) {
	streamStory(t, image.Pt(64, 32), []Codec{VP9}, func(t *testing.T, s *Stream) {
		fits := join(t, s, VP9, Want{Codec: VP9, MaxFS: 8})
		join(t, s, VP9, Want{Codec: VP9})
		if len(s.Status()) != 1 {
			t.Fatal("a limit that is none made an encoder of its own")
		}
		small := join(t, s, VP9, Want{Codec: VP9, MaxFS: 7})
		if u := next(t, fits); u.Size != image.Pt(64, 32) {
			t.Fatalf("size %v", u.Size)
		}
		if u := next(t, small); (u.Size.X+15)/16*((u.Size.Y+15)/16) > 7 {
			t.Fatalf("size %v takes more than 7 macroblocks", u.Size)
		}
		smaller := join(t, s, VP9, Want{Codec: VP9, MaxFS: 7})
		if len(s.Status()) != 2 || smaller.hub != small.hub {
			t.Fatal("viewers of the same limit do not share")
		}
	})
}

// TestCodecThatFails shows a screen that is too small for H.264: its viewers are
// told, those of another codec see nothing of it, and who comes next gets what
// works, until the codec is tried again.
func TestCodecThatFails(t *testing.T) {
	streamStory(t, image.Pt(8, 8), []Codec{VP9, H264}, func(t *testing.T, s *Stream) {
		h264, vp9 := Want{Codec: H264}, Want{Codec: VP9}
		good := join(t, s, VP9, vp9)
		if u := next(t, good); u.Size != image.Pt(8, 8) {
			t.Fatalf("a picture of %v", u.Size)
		}
		bad := join(t, s, H264, h264)
		if _, err := bad.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "OpenH264: open for 8x8") {
			t.Fatalf("the viewer of a codec that fails gets %v", err)
		}
		synctest.Wait()
		if n := s.Totals()[H264]; n.Failures != maxFailures {
			t.Errorf("%d failures, want %d", n.Failures, maxFailures)
		}
		good.Close() // its encoder lingers
		time.Sleep(10 * time.Second)
		join(t, s, VP9, h264, vp9).Close()
		time.Sleep(brokenFor)
		s.cfg.Codecs = []Codec{H264, VP9}
		if n := len(s.Status()); n != 0 {
			t.Fatalf("%d encoders", n)
		}
		bad = join(t, s, H264, h264, vp9)
		if _, err := bad.Next(t.Context()); err == nil {
			t.Fatal("a unit of a codec that fails")
		}
		next(t, join(t, s, VP9, h264, vp9))
	})
}
