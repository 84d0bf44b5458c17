package whep

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"deskwhep/encode"
	"deskwhep/encode/encodetest"
	"deskwhep/interceptors"
)

// The measured job: 4 Mbit/s at 30 fps, 15 packets in a frame.
const (
	fanoutFPS   = 30
	fanoutFrame = 15 * 1100
)

// fanoutViewers is in the environment of the process that plays the viewers:
// their number and the URL.
const fanoutViewers = "DESKWHEP_TEST_VIEWERS"

// BenchmarkFanout measures the CPU of the whole sending process, kernel
// included, beside that of a plain pion server with the same job. The viewers
// live in another process, whose sockets drop all RTP but the last packet of a
// frame; they send feedback as browsers do.
//
// us/packet is CPU time; %core is all of it, %core/viewer that of one viewer.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{1, 10, 50, 100, 200} {
		for _, c := range []struct {
			name  string
			start func(t testing.TB, key, delta int) job
		}{{"stock", startStock}, {"ours", startOurs}} {
			b.Run(fmt.Sprintf("%s/viewers=%d", c.name, n), func(b *testing.B) { fanout(b, n, c.start(b, fanoutFrame, fanoutFrame)) })
		}
	}
}

// job is a server that sends frames when it is told to.
type job struct {
	url   string
	frame func() bool   // false: the last one is not through yet
	sent  func() uint64 // packets in all; nil: all that frame was called for
	key   func()        // asks for a key frame
	keys  func() int    // key frames made
	media *net.UDPAddr
}

func fanout(b *testing.B, n int, j job) {
	empty := memory()
	viewers := startViewers(b, n, j.url)
	j.frame()
	time.Sleep(100 * time.Millisecond)
	each := float64(memory()-empty) / float64(n) / 1024
	ticks := time.NewTicker(time.Second / fanoutFPS)
	defer ticks.Stop()
	packets := uint64(0)
	if j.sent != nil {
		packets = j.sent()
	}
	frames, begin, wall := 0, cpu(b), time.Now()
	for b.Loop() {
		<-ticks.C
		if j.frame() {
			frames++
		}
	}
	if j.sent == nil {
		packets = uint64(frames * n * 15)
	} else {
		time.Sleep(50 * time.Millisecond)
		packets = j.sent() - packets
		if want := uint64(frames * n * 15); packets < want*95/100 || packets > want*105/100 {
			b.Errorf("%d packets were sent, not %d", packets, want)
		}
	}
	used := cpu(b) - begin
	mbit := float64(packets) * 1100 * 8 / 1e6
	b.ReportMetric(float64(used.Microseconds())/float64(packets), "us/packet")
	b.ReportMetric(100*used.Seconds()/time.Since(wall).Seconds(), "%core")
	b.ReportMetric(100*used.Seconds()/time.Since(wall).Seconds()/float64(n), "%core/viewer")
	b.ReportMetric(used.Seconds()*1000/mbit, "ms/Mbit")
	b.ReportMetric(each, "KB/viewer")
	b.ReportMetric(float64(frames)/time.Since(wall).Seconds(), "fps")
	b.ReportMetric(0, "ns/op") // says nothing: the pace is given
	viewers()
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// memory is the heap and the stacks in use, in bytes.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// startOurs starts this package's server with an encoder that gives random
// data.
func startOurs(t testing.TB, key, delta int) job {
	src := encodetest.New(key, delta)
	in := startInside(t, src)
	return job{
		url: in.url, frame: src.Tick, media: in.udp(),
		sent: func() (sum uint64) {
			for _, v := range in.ViewerStatus() {
				sum += v.Packets
			}
			return sum
		},
		key:  func() { in.hub.RequestKeyframe("pli") },
		keys: func() int { return int(in.hub.Status().Keys) },
	}
}

// startStock starts what one gets from pion's examples: one TrackLocalStaticRTP
// for all and the default interceptors, though with one socket for all. The
// next frame after each PLI is a key frame.
func startStock(t testing.TB, key, delta int) job {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetWriteBuffer(socketBuffer)
	_ = conn.SetReadBuffer(socketBuffer)
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn})
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "s")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Bool
	asked.Store(true)
	var mu sync.Mutex
	var pcs []*webrtc.PeerConnection
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, pc, err := stockAnswer(mux, track, r.Body, func() { asked.Store(true) })
		mu.Lock()
		defer mu.Unlock()
		pcs = append(pcs, pc)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(func() {
		server.Close()
		for _, pc := range pcs {
			_ = pc.GracefulClose()
		}
		_ = mux.Close()
	})
	frames := map[bool][]byte{true: make([]byte, key), false: make([]byte, delta)}
	for isKey, data := range frames {
		rand.Read(data)
		data[0] = encodetest.KeyMark
		if !isKey {
			data[0]++
		}
	}
	keys := 0
	var packetizer encode.VP8Packetizer
	header := rtp.Header{Version: 2}
	return job{
		url: server.URL, media: conn.LocalAddr().(*net.UDPAddr),
		frame: func() bool {
			isKey := asked.Swap(false)
			if isKey {
				keys++
			}
			payloads, err := packetizer.Packetize(frames[isKey], isKey, 0)
			if err != nil {
				t.Error(err)
			}
			header.Timestamp += 3000
			for i, p := range payloads {
				header.SequenceNumber++
				header.Marker = i == len(payloads)-1
				if err := track.WriteRTP(&rtp.Packet{Header: header, Payload: p}); err != nil {
					t.Error(err)
				}
			}
			return true
		},
		key:  func() { asked.Store(true) },
		keys: func() int { return keys },
	}
}

func stockAnswer(mux ice.UDPMux, track webrtc.TrackLocal, body io.Reader, asked func()) (string, *webrtc.PeerConnection, error) {
	offer, err := io.ReadAll(body)
	if err != nil {
		return "", nil, err
	}
	var media webrtc.MediaEngine
	var registry interceptor.Registry
	if err := errors.Join(media.RegisterDefaultCodecs(), webrtc.RegisterDefaultInterceptors(&media, &registry)); err != nil {
		return "", nil, err
	}
	var settings webrtc.SettingEngine
	settings.SetICEUDPMux(mux)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(settings), webrtc.WithInterceptorRegistry(&registry)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", nil, err
	}
	sender, err := pc.AddTrack(track)
	if err != nil {
		return "", pc, err
	}
	go func() { // ends with the connection
		for {
			packets, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range packets {
				if _, ok := p.(*rtcp.PictureLossIndication); ok {
					asked()
				}
			}
		}
	}()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}); err != nil {
		return "", pc, err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", pc, err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", pc, err
	}
	<-gathered
	return pc.LocalDescription().SDP, pc, nil
}

// startViewers starts viewers in another process and waits until all are
// connected; stop ends them.
func startViewers(t testing.TB, n int, url string) (stop func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestViewerProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", fanoutViewers, n, url))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = in.Close() // asks it to end
		_ = cmd.Wait()
		cancel()
	})
	t.Cleanup(stop)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return stop
		}
		fmt.Fprintln(&stderr, lines.Text())
	}
	t.Fatalf("the viewers did not connect:\n%s", &stderr)
	return stop
}

// TestViewerProcess is the process of startViewers.
func TestViewerProcess(t *testing.T) {
	count, url, ok := strings.Cut(os.Getenv(fanoutViewers), " ")
	if !ok {
		t.Skip("it is started by other tests")
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := quietViewer(url); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
}

// quietViewer plays url until the process ends. Its socket drops all RTP but
// the last packet of each frame, so that it costs little; it sends feedback for
// all of them.
func quietViewer(url string) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	if err := dropMost(conn); err != nil {
		return err
	}
	var settings webrtc.SettingEngine
	settings.SetICEUDPMux(ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn}))
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	var media webrtc.MediaEngine
	err = errors.Join(media.RegisterDefaultCodecs(), media.RegisterHeaderExtension(
		webrtc.RTPHeaderExtensionCapability{URI: interceptors.TransportCCURI}, webrtc.RTPCodecTypeVideo))
	if err != nil {
		return err
	}
	media.RegisterFeedback(webrtc.RTCPFeedback{Type: "transport-cc"}, webrtc.RTPCodecTypeVideo)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	connected := make(chan error, 1)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			connected <- nil
		} else if s == webrtc.PeerConnectionStateFailed {
			connected <- errors.New("failed")
		}
	})
	pc.OnTrack(func(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) { feedBack(pc, track, r) })
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		return err
	}
	if err := play(pc, url, nil); err != nil {
		return err
	}
	select {
	case err := <-connected:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("not connected after 20 s")
	}
}

// feedBack sends a report each second and, where packets are numbered,
// feedback each 100 ms: frames arrived evenly since the last one that was seen.
func feedBack(pc *webrtc.PeerConnection, track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	id := 0
	for _, e := range r.GetParameters().HeaderExtensions {
		if e.URI == interceptors.TransportCCURI {
			id = e.ID
		}
	}
	const unit = 250 * time.Microsecond
	began := time.Now()
	var reported, fed time.Time
	var f *rtcp.TransportLayerCC // under construction
	var next uint16
	var at time.Duration // of the last arrival
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		now := time.Now()
		if now.Sub(reported) > time.Second {
			reported = now
			_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: uint32(track.SSRC()), LastSequenceNumber: uint32(p.SequenceNumber)}}}})
		}
		ext := p.GetExtension(uint8(id))
		if len(ext) != 2 {
			continue
		}
		last := binary.BigEndian.Uint16(ext)
		if f == nil {
			at = now.Sub(began).Truncate(64 * time.Millisecond)
			f = &rtcp.TransportLayerCC{MediaSSRC: uint32(track.SSRC()), BaseSequenceNumber: next, ReferenceTime: uint32(at / (64 * time.Millisecond))}
		}
		n := last - next + 1
		next = last + 1
		if n > 500 { // the first one
			f = nil
			continue
		}
		frames := max(n/15, 1)
		delta := (now.Sub(began) - at) / time.Duration(frames) / unit * unit
		at += delta * time.Duration(frames)
		f.PacketStatusCount += n
		f.PacketChunks = append(f.PacketChunks, &rtcp.RunLengthChunk{PacketStatusSymbol: 2, RunLength: n})
		for i := range n {
			d := &rtcp.RecvDelta{Type: 2}
			if i%15 == 0 && i/15 < frames {
				d.Delta = delta.Microseconds()
			}
			f.RecvDeltas = append(f.RecvDeltas, d)
		}
		if now.Sub(fed) > 100*time.Millisecond {
			f.Header = rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: uint16(f.MarshalSize()/4 - 1), Padding: int(f.Len())%4 != 0}
			_ = pc.WriteRTCP([]rtcp.Packet{f})
			f, fed = nil, now
		}
	}
}

// dropMost makes a socket drop RTP but the last packet of every fourth frame or
// so. RTCP with its own types has the marker bit and what is here the RTP time
// at random.
func dropMost(c *net.UDPConn) error {
	const udpHeader = 8
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: udpHeader, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xc0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x80, SkipFalse: 6},
		bpf.LoadAbsolute{Off: udpHeader + 1, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 128, SkipTrue: 3}, // no marker
		bpf.LoadAbsolute{Off: udpHeader + 4, Size: 4},             // the RTP time
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x6000},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 65535},
	})
	if err != nil {
		return err
	}
	filters := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filters[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	})
	return errors.Join(err, failed)
}
