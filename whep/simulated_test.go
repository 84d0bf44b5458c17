package whep

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"deskwhep/encode"
	"deskwhep/encode/encodetest"
	"deskwhep/interceptors"
	"deskwhep/whep/relaytest"
)

// simulated is a viewer on a simulated path, in the simulated time of
// testing/synctest: the hub, the sender, the interceptors and the watcher are the
// real ones; ICE, encryption and sockets are left out.
type simulated struct {
	t       testing.TB
	hub     *encode.Hub
	wire    *interceptors.Viewer
	outlet  *outlet
	down    *relaytest.Way
	up      *relaytest.Way
	seen    *watcher
	dropped atomic.Uint64

	mu       sync.Mutex // guards below
	arrivals *twcc.Recorder
	report   rtcp.ReceptionReport
	told     time.Time // when the last sender report came
}

const (
	sealSize      = 16 // bytes of authentication in each packet
	simulatedSSRC = 0x1234
	simulatedRTX  = 0x5678
)

// simulate starts it, in a bubble; it ends with the test. The path is taken to carry
// start bits per second at first.
func simulate(t testing.TB, src *encodetest.Source, link relaytest.Link, start float64, seed uint64) *simulated {
	t.Helper()
	s := &simulated{t: t, seen: unconnected(), arrivals: twcc.NewRecorder(1)}
	s.hub = src.Hub(slog.New(slog.NewTextHandler(io.Discard, nil)))
	sending := newSender(func() {})
	viewer := s.hub.Join()
	s.wire = interceptors.New(interceptors.Config{
		Keyframe: viewer.RequestKeyframe, Repeated: viewer.KeyframeRepeated, Waiting: sending.Wake, StartRate: start,
		RTPTime: func(time.Time, uint32) uint32 { return 0 },
	})
	chain, err := s.wire.Registry().Build("")
	if err != nil {
		t.Fatal(err)
	}
	var control []byte
	reader := chain.BindRTCPReader(interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		return copy(b, control), a, nil
	}))
	back := relaytest.Link{Delay: link.Delay}
	s.up = relaytest.NewWay(back, seed, func(b []byte) {
		control = b
		if _, _, err := reader.Read(make([]byte, 1500), nil); err != nil {
			t.Error(err)
		}
	})
	s.down = relaytest.NewWay(link, seed, s.take)
	chain.BindRTCPWriter(interceptor.RTCPWriterFunc(func(list []rtcp.Packet, _ interceptor.Attributes) (int, error) {
		b, err := rtcp.Marshal(list)
		s.down.Carry(b, false)
		return len(b), err
	}))
	to := func(info *interceptor.StreamInfo) interceptor.RTPWriter {
		return chain.BindLocalStream(info, interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
			b, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
			s.down.Carry(append(b, make([]byte, sealSize)...), true)
			return len(b), err
		}))
	}
	video := &section{kind: "video", mid: "0", extensions: map[string]uint8{}}
	for i, uri := range extensionURIs {
		video.extensions[uri] = uint8(i + 1)
	}
	place := &served{ssrc: simulatedSSRC, rtx: simulatedRTX, format: format{codec: encode.VP8, pt: 96, rtx: 97, name: "VP8", clock: 90000, nack: true, pli: true, transportCC: true}}
	track, err := bind(to, video, place, clock{epoch: time.Now(), rate: 90000}, s.wire)
	if err != nil {
		t.Fatal(err)
	}
	s.outlet = newOutlet(viewer, track, s.wire, &s.dropped, func(time.Duration) {})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { _ = s.hub.Run(ctx) })
	running.Go(func() { _ = sending.run(ctx) })
	running.Go(func() { s.down.Run(done) })
	running.Go(func() { s.up.Run(done) })
	running.Go(func() { s.tell(done) })
	stop := every(src.Tick)
	sending.add(s.outlet)
	t.Cleanup(func() {
		stop()
		sending.remove(s.outlet)
		viewer.Close()
		cancel()
		close(done)
		running.Wait()
	})
	return s
}

// take takes a packet at the end of the path.
func (s *simulated) take(b []byte) {
	if b[1] >= 192 && b[1] <= 223 {
		list, err := rtcp.Unmarshal(b)
		if err != nil {
			s.t.Error(err)
		}
		for _, p := range list {
			if sr, ok := p.(*rtcp.SenderReport); ok {
				s.mu.Lock()
				s.report, s.told = rtcp.ReceptionReport{SSRC: simulatedSSRC, LastSenderReport: uint32(sr.NTPTime >> 16)}, time.Now()
				s.mu.Unlock()
			}
		}
		return
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(b[:len(b)-sealSize]); err != nil {
		s.t.Error(err)
		return
	}
	now := time.Now()
	s.mu.Lock()
	s.arrivals.Record(p.SSRC, binary.BigEndian.Uint16(p.GetExtension(4)), now.UnixMicro())
	s.mu.Unlock()
	if p.SSRC == simulatedRTX {
		p.SequenceNumber, p.Payload = binary.BigEndian.Uint16(p.Payload), p.Payload[2:]
	}
	ask, missing := s.seen.take(p, now)
	if len(missing) > 0 {
		s.answer(&rtcp.TransportLayerNack{MediaSSRC: simulatedSSRC, Nacks: rtcp.NackPairsFromSequenceNumbers(missing)})
	}
	if ask {
		s.answer(&rtcp.PictureLossIndication{MediaSSRC: simulatedSSRC})
	}
}

func (s *simulated) answer(list ...rtcp.Packet) {
	b, err := rtcp.Marshal(list)
	if err != nil {
		s.t.Error(err)
	}
	s.up.Carry(b, false)
}

// tell reports as players do: of the packets' arrival 10 times a second, and of the
// round trip once.
func (s *simulated) tell(done <-chan struct{}) {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-ticks.C:
		}
		s.mu.Lock()
		list, report := s.arrivals.BuildFeedbackPacket(), s.report
		report.Delay = uint32(time.Since(s.told).Seconds() * 65536)
		s.mu.Unlock()
		if n%10 == 9 && report.LastSenderReport != 0 {
			list = append(list, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{report}})
		}
		for _, p := range list {
			s.answer(p)
		}
	}
}

// TestSimulatedPaths shows how much of a stream comes through paths that cannot carry
// all of it: not much less than they do.
func TestSimulatedPaths(t *testing.T) {
	for _, c := range []struct {
		name  string
		delta int // bytes of a picture; 6000 are 1.5 Mbit/s
		link  relaytest.Link
		least float64 // share of the pictures that must be seen
	}{
		{"1.5 through 1 Mbit per s", 6000, relaytest.Link{Rate: 1e6, Queue: 30000}, 0.45}, // half of them are in the top layer
		{"1.5 through 1.7", 6000, relaytest.Link{Rate: 1.7e6, Queue: 30000}, 0.98},
		{"1.5 through 2", 6000, relaytest.Link{Rate: 2e6, Queue: 30000}, 0.98},
		{"1.5 through 3 with 1% loss", 6000, relaytest.Link{Rate: 3e6, Queue: 30000, Loss: 0.01}, 0.98},
		{"1.5 with 20% loss", 6000, relaytest.Link{Loss: 0.2}, 0.98},
		{"2 through 0.7", 8000, relaytest.Link{Rate: 0.7e6, Queue: 20000}, 0.25},
		{"3 through 1", 12000, relaytest.Link{Rate: 1e6, Queue: 30000}, 0.25},
		{"3 through 2", 12000, relaytest.Link{Rate: 2e6, Queue: 30000}, 0.45},
		{"6 through 1", 24000, relaytest.Link{Rate: 1e6, Queue: 30000}, 0.13},
		{"6 through 2", 24000, relaytest.Link{Rate: 2e6, Queue: 30000}, 0.29},
		{"6 through 4", 24000, relaytest.Link{Rate: 4e6, Queue: 60000}, 0.46},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.link.Delay = pathDelay
				s := simulate(t, encodetest.New(20000, c.delta), c.link, 30e6, 1)
				time.Sleep(30 * time.Second)
				end := s.hub.Status().Units
				time.Sleep(time.Second) // for the last repairs
				saw := s.seen.seen()
				t.Logf("%.1f %% of the pictures, %d key frames, %d asked for", 100*saw.share(end), saw.Keys, saw.Asked)
				if share := saw.share(end); share < c.least {
					t.Errorf("%.1f %% of the pictures were seen; at least %.0f %% should be", 100*share, 100*c.least)
				}
				if keys := s.hub.Status().Keys; keys > 17 {
					t.Errorf("%d key frames were made in 30 s", keys)
				}
			})
		})
	}
}

// TestSimulatedTopLayer narrows a path and widens it again: the top layer goes, is
// tried again while the path is narrow, but not often, and comes back for good.
func TestSimulatedTopLayer(t *testing.T) {
	for _, lasted := range []time.Duration{4 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			wide := relaytest.Link{Delay: pathDelay}
			s := simulate(t, encodetest.New(20000, 6000), wide, 100e6, 1)
			time.Sleep(5 * time.Second)
			narrow := wide
			narrow.Rate, narrow.Queue = 1e6, 25000
			s.down.Change(narrow)
			began, out, changes := time.Now(), false, 0
			watch := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					if now := s.outlet.lean.Load(); now != out {
						out = now
						changes++
						t.Logf("after %v it is left out: %v", time.Since(began), out)
					}
				}
			}
			watch(lasted)
			if !out && lasted < lastsFor || changes > 3+2*int(lasted/lastsFor) {
				t.Errorf("after %v on a narrow path it is left out: %v, after %d changes", lasted, out, changes)
			}
			s.down.Change(wide)
			watch(lastsFor + 2*time.Second)
			from, keys := s.seen.seen(), s.hub.Status().Keys
			changes = 0
			watch(20 * time.Second)
			if saw := s.seen.seen(); out || changes > 0 || saw.Skipped > from.Skipped || s.hub.Status().Keys > keys {
				t.Errorf("on a wide path again it is left out: %v, after %d changes; %+v, and before that %+v", out, changes, saw, from)
			}
		})
	}
}
