package whep

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	pion "github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"

	"deskwhep/encode/encodetest"
	"deskwhep/whep/relaytest"
)

// A player asks for a key frame when it has waited so long for its first one or
// for the next decodable picture; browsers wait for 0.2 and 3 s. It waits a
// little for repairs before a key frame makes it skip what is missing.
const (
	patienceKey    = 300 * time.Millisecond
	patienceNext   = time.Second
	patienceRepair = 150 * time.Millisecond
)

// A player asks for a missing packet when it has not come out of order so soon,
// then after each round trip, and so often.
const (
	nackAfter = 10 * time.Millisecond
	nackAgain = 60 * time.Millisecond
	nackMost  = 10
)

// watcher is a player that follows the pictures of an encodetest.Source: it
// reports as pion does, asks for missing packets as browsers do, decodes what is whole and refers to what was
// decoded, and asks for key frames when that does not go on.
type watcher struct {
	pc        *webrtc.PeerConnection
	begun     time.Time // just before the POST
	connected chan struct{}
	failed    chan struct{} // the connection is over

	mu       sync.Mutex // guards below
	media    uint32     // SSRC
	newest   int64      // picture that has begun to come, its number as the hub counts units, from 0
	pictures map[int64]*picture
	next     int64  // picture after the last one that was decoded; -1 before the first key frame
	ended    uint16 // sequence number of the last one's end
	tl0      uint8  // of its layer 0, or of that which it refers to
	waiting  time.Time
	asked    time.Time
	highest  uint16 // sequence number; valid if any packet came
	missing  map[uint16]*absent
	came     map[uint16]time.Time // when packets first came, by sequence number
	keyed    time.Time            // when the last key frame was decoded

	watched
}

// absent is a packet that is missing.
type absent struct {
	next  time.Time // when to ask for it
	tries int
}

// watched is what a watcher has seen.
type watched struct {
	First   int64 // picture that was decoded, a key frame; -1 for none
	Last    int64 // picture that was decoded
	Decoded int
	Skipped int // pictures that were never decoded, between others that were
	Keys    int // key frames decoded
	Asked   int // key frames asked for
	Packets int // that came, repairs too

	Wait time.Duration // from the POST to the first picture
}

// share is the share of decoded pictures of those from the first one to the end,
// which is a number of units. What was skipped later counts too.
func (w watched) share(end uint64) float64 {
	if w.First < 0 || int64(end) <= w.First {
		return 0
	}
	return float64(min(w.Last+1, int64(end))-w.First-int64(w.Skipped)) / float64(int64(end)-w.First)
}

// picture is one that comes in packets.
type picture struct {
	seqs        map[uint16]bool
	first, last uint16
	begun       bool  // first has come
	ended       bool  // last has come
	key, spare  bool  // spare: of the top layer
	tl0         uint8 // of its layer 0, or of that which it refers to
}

func (p *picture) whole() bool {
	return p.begun && p.ended && len(p.seqs) == int(p.last-p.first)+1
}

// follow starts a watcher and waits until it is connected. via rewrites the
// answer's candidates, nil for the direct way.
func follow(t testing.TB, url string, via func(answer string) string) *watcher {
	t.Helper()
	w, err := newWatcher(url, via, func(ip net.IP) bool { return ip.IsLoopback() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.pc.GracefulClose() })
	return w
}

// roomy is a network whose UDP sockets have room.
type roomy struct{ *stdnet.Net }

// ListenUDP implements transport.Net.
func (n roomy) ListenUDP(network string, at *net.UDPAddr) (pion.UDPConn, error) {
	c, err := net.ListenUDP(network, at)
	if err != nil {
		return nil, err
	}
	relaytest.Room(c)
	return c, nil
}

// unconnected makes a watcher that sees what take is given.
func unconnected() *watcher {
	return &watcher{
		begun: time.Now(), connected: make(chan struct{}), failed: make(chan struct{}),
		pictures: map[int64]*picture{}, came: map[uint16]time.Time{}, missing: map[uint16]*absent{}, next: -1, newest: -1, watched: watched{First: -1, Last: -1},
	}
}

func newWatcher(url string, via func(answer string) string, local func(net.IP) bool) (*watcher, error) {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetIPFilter(local)
	network, err := stdnet.NewNet()
	if err != nil {
		return nil, err
	}
	settings.SetNet(roomy{network})
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	var media webrtc.MediaEngine
	var registry interceptor.Registry
	err = errors.Join(media.RegisterDefaultCodecs(), webrtc.ConfigureRTCPReports(&registry), webrtc.ConfigureTWCCSender(&media, &registry))
	if err != nil {
		return nil, err
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(&registry)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	w := unconnected()
	w.pc = pc
	up, down := sync.OnceFunc(func() { close(w.connected) }), sync.OnceFunc(func() { close(w.failed) })
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { w.read(track) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			up()
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			down()
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		return nil, err
	}
	if err := play(pc, url, via); err != nil {
		return nil, err
	}
	select {
	case <-w.connected:
		return w, nil
	case <-w.failed:
	case <-time.After(30 * time.Second):
	}
	_ = pc.Close()
	return nil, fmt.Errorf("the player does not connect: %v", pc.ICEConnectionState())
}

func (w *watcher) read(track *webrtc.TrackRemote) {
	w.mu.Lock()
	w.media = uint32(track.SSRC())
	w.waiting = time.Now()
	w.mu.Unlock()
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		ask, missing := w.take(p, time.Now())
		if len(missing) > 0 {
			_ = w.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: uint32(track.SSRC()), Nacks: rtcp.NackPairsFromSequenceNumbers(missing)}})
		}
		if ask {
			_ = w.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
		}
	}
}

// take takes a packet and tells whether to ask for a key frame, and which packets
// to ask for.
func (w *watcher) take(packet *rtp.Packet, now time.Time) (ask bool, missing []uint16) {
	var v codecs.VP8Packet
	payload, err := v.Unmarshal(packet.Payload)
	if err != nil || v.I == 0 {
		return false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	missing = w.misses(packet.SequenceNumber, now)
	w.Packets++
	if now.Sub(w.came[packet.SequenceNumber]) > 30*time.Second { // numbers come again
		w.came[packet.SequenceNumber] = now
	}
	number := int64(v.PictureID)
	if w.newest >= 0 { // 15 bits on the wire
		number = w.newest + int64(int16((v.PictureID-uint16(w.newest))<<1)>>1)
	}
	if w.newest < w.next { // nothing was awaited, however long the stream stood still
		w.waiting = now
	}
	w.newest = max(w.newest, number)
	if number >= w.next {
		w.note(number, packet, &v, v.S == 1 && len(payload) > 0 && payload[0] == encodetest.KeyMark)
	}
	if w.decode(now.Sub(w.waiting) > patienceRepair, now) {
		w.waiting = now
	}
	patience := patienceNext
	if w.next < 0 {
		patience = patienceKey
	}
	ask = w.newest >= w.next && now.Sub(w.waiting) > patience && now.Sub(w.asked) > patienceKey
	if ask {
		w.asked = now
		w.Asked++
	}
	return ask, missing
}

// misses notes that a packet has come, and tells which ones to ask for now.
func (w *watcher) misses(seq uint16, now time.Time) (list []uint16) {
	if w.Packets == 0 {
		w.highest = seq
	}
	for ; int16(seq-w.highest) > 0; w.highest++ {
		w.missing[w.highest+1] = &absent{next: now.Add(nackAfter)}
	}
	delete(w.missing, seq)
	for seq, a := range w.missing {
		if now.Before(a.next) {
			continue
		}
		if a.next, a.tries = now.Add(nackAgain), a.tries+1; a.tries > nackMost {
			delete(w.missing, seq)
			continue
		}
		list = append(list, seq)
	}
	slices.Sort(list)
	return list
}

func (w *watcher) note(number int64, packet *rtp.Packet, v *codecs.VP8Packet, key bool) {
	p := w.pictures[number]
	if p == nil {
		p = &picture{seqs: map[uint16]bool{}, spare: v.TID > 0, tl0: v.TL0PICIDX}
		w.pictures[number] = p
	}
	p.seqs[packet.SequenceNumber] = true
	if v.S == 1 {
		p.begun, p.first, p.key = true, packet.SequenceNumber, key
	}
	if packet.Marker {
		p.ended, p.last = true, packet.SequenceNumber
	}
}

// decode decodes what can be, and tells whether that was anything or there is
// nothing to wait for. skip lets it leave out what is missing.
func (w *watcher) decode(skip bool, now time.Time) (went bool) {
	for {
		at := int64(-1) // the oldest that can be decoded
		for number, p := range w.pictures {
			if (at < 0 || number < at) && w.decodable(p, skip) {
				at = number
			}
		}
		if at < 0 {
			return went || w.newest < w.next
		}
		if w.First < 0 {
			w.First, w.Wait = at, now.Sub(w.begun)
		} else {
			w.Skipped += int(at - w.next)
		}
		if w.pictures[at].key {
			w.Keys++
			w.keyed = now
		}
		w.Decoded++
		w.ended, w.tl0 = w.pictures[at].last, w.pictures[at].tl0
		w.Last, w.next, went = at, at+1, true
		for number := range w.pictures {
			if number < w.next {
				delete(w.pictures, number)
			}
		}
	}
}

// decodable tells whether p is whole and so is what it refers to. What comes
// before it, but for what the server has left out, must have been decoded unless
// skip is set.
func (w *watcher) decodable(p *picture, skip bool) bool {
	switch {
	case !p.whole():
		return false
	case w.next < 0 || skip && p.key:
		return p.key
	case !skip && p.first != w.ended+1:
		return false
	case p.key || p.spare:
		return p.key || p.tl0 == w.tl0
	default:
		return p.tl0 == w.tl0+1
	}
}

// seen is what the watcher has seen until now.
func (w *watcher) seen() watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watched
}

func (w *watcher) ssrc() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.media
}

func (w *watcher) send(t testing.TB, p rtcp.Packet) {
	t.Helper()
	if err := w.pc.WriteRTCP([]rtcp.Packet{p}); err != nil {
		t.Error(err)
	}
}

var candidateLine = regexp.MustCompile(`(?m)^a=candidate:.*\r\n`)

// through makes an answer's first candidates those given, and drops its own.
func through(answer string, candidates ...string) string {
	return candidateLine.ReplaceAllStringFunc(answer, func(string) (lines string) {
		for _, c := range candidates {
			lines += "a=candidate:" + c + "\r\n"
		}
		candidates = nil
		return lines
	})
}

func udpCandidate(at netip.AddrPort) string {
	return fmt.Sprintf("1 1 udp 2130706431 %s %d typ host", at.Addr(), at.Port())
}

func tcpCandidate(at netip.AddrPort) string {
	return fmt.Sprintf("2 1 tcp 1671430143 %s %d typ host tcptype passive", at.Addr(), at.Port())
}

// via makes an answer lead through a relay.
func (r relay) via(answer string) string { return through(answer, udpCandidate(r.address())) }

// address is where players find the relay on loopback.
func (r relay) address() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port)
}

func (r *tcpRelay) via(answer string) string {
	return through(answer, tcpCandidate(r.listener.Addr().(*net.TCPAddr).AddrPort()))
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}
