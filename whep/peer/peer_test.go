package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

// udp adapts a UDP socket.
type udp struct{ *net.UDPConn }

func (u udp) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) { return u.ReadFromUDPAddrPort(b) }
func (u udp) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return u.WriteToUDPAddrPort(b, to)
}

// newConfig opens sockets on loopback until the test ends.
func newConfig(t *testing.T) *Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	interfaces, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := logging.NewDefaultLoggerFactory()
	log.DefaultLogLevel = logging.LogLevelDisabled
	socket := NewSocket(udp{c}, c.LocalAddr().(*net.UDPAddr).AddrPort())
	network := Network{UDP: ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: socket}), Sockets: []*Socket{socket}, Net: interfaces}
	cfg := &Config{
		Network: func() (Network, error) { return network, nil },
		TCP:     ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: l, ReadBufferSize: 8, WriteBufferSize: 1 << 20}),
		Log:     log, Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
	t.Cleanup(func() {
		_ = errors.Join(network.UDP.Close(), cfg.TCP.Close(), c.Close())
		goleak.VerifyNone(t)
	})
	return cfg
}

// player is a receiving peer connection.
type player struct {
	*webrtc.PeerConnection
	packets chan *rtp.Packet
	offer   string
}

func newPlayer(t *testing.T, role webrtc.DTLSRole, networks ...webrtc.NetworkType) *player {
	t.Helper()
	return newPlayerWith(t, webrtc.SettingEngine{}, role, networks...)
}

func newPlayerWith(t *testing.T, settings webrtc.SettingEngine, role webrtc.DTLSRole, networks ...webrtc.NetworkType) *player {
	t.Helper()
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes(networks)
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	p := &player{PeerConnection: pc, packets: make(chan *rtp.Packet, 100)}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			select {
			case p.packets <- packet:
			default:
			}
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	p.renew(t, nil)
	if role == webrtc.DTLSRoleServer {
		p.offer = strings.Replace(p.offer, "a=setup:actpass", "a=setup:passive", 1)
	}
	return p
}

// renew makes a new offer.
func (p *player) renew(t *testing.T, o *webrtc.OfferOptions) {
	t.Helper()
	offer, err := p.CreateOffer(o)
	if err == nil {
		err = p.SetLocalDescription(offer)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.offer = offer.SDP
}

// value is the value of an attribute of the offer.
func (p *player) value(name string) string {
	_, after, _ := strings.Cut(p.offer, "a="+name+":")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

func (p *player) remote() Remote {
	return Remote{Ufrag: p.value("ice-ufrag"), Pwd: p.value("ice-pwd"), Fingerprints: []string{p.value("fingerprint")}, Passive: p.value("setup") == "passive"}
}

// answer gives the player our end.
func (p *player) answer(t *testing.T, cfg *Config, c *Conn) {
	t.Helper()
	l, err := c.Local()
	if err != nil {
		t.Fatal(err)
	}
	setup := "passive"
	if c.remote.Passive {
		setup = "active"
	}
	text := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"+
		"a=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s\r\na=setup:%s\r\na=rtpmap:96 VP8/90000\r\na=ssrc:7 cname:c\r\n",
		l.Ufrag, l.Pwd, Fingerprint("sha-256", cfg.Certificate.Certificate[0]), setup)
	for _, candidate := range l.Candidates {
		text += "a=candidate:" + candidate + "\r\n"
	}
	if err := p.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
		t.Fatal(err)
	}
}

// heard is an interceptor that counts the PLIs that are read.
type heard struct {
	interceptor.NoOp
	plis atomic.Int32
}

func (h *heard) NewInterceptor(string) (interceptor.Interceptor, error) { return h, nil }

func (h *heard) BindRTCPReader(r interceptor.RTCPReader) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := r.Read(b, a)
		if err == nil {
			packets, err := rtcp.Unmarshal(b[:n])
			if err != nil {
				return n, a, err
			}
			for _, p := range packets {
				if _, ok := p.(*rtcp.PictureLossIndication); ok {
					h.plis.Add(1)
				}
			}
		}
		return n, a, err
	})
}

// connection is a Conn that runs.
type connection struct {
	*Conn
	heard *heard
	up    atomic.Bool
	ended chan error
	end   context.CancelCauseFunc
	write interceptor.RTPWriter
	next  uint16
}

func connect(t *testing.T, cfg *Config, r Remote) *connection {
	t.Helper()
	c := &connection{heard: &heard{}, ended: make(chan error, 1)}
	registry := &interceptor.Registry{}
	registry.Add(c.heard)
	var err error
	if c.Conn, err = Open(cfg, r, registry, func(s State) { c.up.Store(s == Up) }); err != nil {
		t.Fatal(err)
	}
	c.write = c.Bind(&interceptor.StreamInfo{SSRC: 7, PayloadType: 96, ClockRate: 90000, MimeType: webrtc.MimeTypeVP8})
	var ctx context.Context
	ctx, c.end = context.WithCancelCause(context.Background())
	go func() { c.ended <- c.Run(ctx) }()
	t.Cleanup(func() { c.end(nil); c.Close() })
	return c
}

// send sends a packet; ok tells whether it had a way.
func (c *connection) send(t *testing.T) (ok bool) {
	t.Helper()
	c.next++
	n, err := c.write.Write(&rtp.Header{Version: 2, PayloadType: 96, SSRC: 7, SequenceNumber: c.next, Marker: true}, []byte{0x10, 1, 2, 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// result is what Run returned.
func (c *connection) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the connection does not end")
		return nil
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// plays sends until the player gets new packets, and asks the other way.
func plays(t *testing.T, c *connection, p *player) {
	t.Helper()
	for len(p.packets) > 0 {
		<-p.packets
	}
	first := c.next
	eventually(t, "packets come", func() bool {
		c.send(t)
		select {
		case packet := <-p.packets:
			return packet.SequenceNumber > first && string(packet.Payload) == "\x10\x01\x02\x03"
		default:
			return false
		}
	})
	before := c.heard.plis.Load()
	eventually(t, "the interceptors hear the player", func() bool {
		_ = p.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: 7}})
		return c.heard.plis.Load() > before
	})
}

// TestProfiles plays with each profile of SRTP.
func TestProfiles(t *testing.T) {
	for _, profile := range profiles {
		t.Run(fmt.Sprintf("%#04x", uint16(profile)), func(t *testing.T) {
			cfg := newConfig(t)
			var settings webrtc.SettingEngine
			settings.SetSRTPProtectionProfiles(profile)
			p := newPlayerWith(t, settings, webrtc.DTLSRoleClient, webrtc.NetworkTypeUDP4)
			c := connect(t, cfg, p.remote())
			p.answer(t, cfg, c.Conn)
			plays(t, c, p)
			c.outMu.Lock()
			defer c.outMu.Unlock()
			if (c.sealer != nil) != isGCM(profile) {
				t.Errorf("there is a sealer: %v", c.sealer != nil)
			}
		})
	}
}

// TestPlay plays over UDP and TCP, with the handshake from either side, and ends
// by the owner's wish.
func TestPlay(t *testing.T) {
	for _, tc := range []struct {
		name    string
		network webrtc.NetworkType
		role    webrtc.DTLSRole
	}{
		{"udp4", webrtc.NetworkTypeUDP4, webrtc.DTLSRoleClient},
		{"tcp4", webrtc.NetworkTypeTCP4, webrtc.DTLSRoleClient},
		{"udp4", webrtc.NetworkTypeUDP4, webrtc.DTLSRoleServer},
	} {
		t.Run(tc.name+" "+tc.role.String(), func(t *testing.T) {
			cfg := newConfig(t)
			p := newPlayer(t, tc.role, tc.network)
			c := connect(t, cfg, p.remote())
			if c.send(t) {
				t.Error("a packet left before there were keys")
			}
			p.answer(t, cfg, c.Conn)
			plays(t, c, p)
			if to, network, ok := c.Remote(); !ok || network != tc.name || !to.Addr().IsLoopback() && network == "tcp4" {
				t.Errorf("%v %v %v", to, network, ok)
			}
			reason := errors.New("enough")
			c.end(reason)
			if err := c.result(t); err != reason {
				t.Errorf("it ended with %v", err)
			}
			if c.up.Load() || c.send(t) {
				t.Error("the connection sends after its end")
			}
			eventually(t, "the player is told", func() bool { return p.ConnectionState() == webrtc.PeerConnectionStateClosed })
		})
	}
}

// TestRestart moves to new credentials, and goes on with the same numbers and
// keys.
func TestRestart(t *testing.T) {
	cfg := newConfig(t)
	p := newPlayer(t, webrtc.DTLSRoleClient, webrtc.NetworkTypeUDP4)
	c := connect(t, cfg, p.remote())
	p.answer(t, cfg, c.Conn)
	plays(t, c, p)
	before, _ := c.Local()
	for range 3 {
		p.renew(t, &webrtc.OfferOptions{ICERestart: true})
		if err := c.Restart(p.value("ice-ufrag"), p.value("ice-pwd")); err != nil {
			t.Fatal(err)
		}
		if c.up.Load() || c.send(t) {
			t.Error("the old path is still used")
		}
		after, err := c.Local()
		if err != nil || after.Ufrag == before.Ufrag || after.Pwd == before.Pwd {
			t.Errorf("the same credentials: %v", err)
		}
		before = after
		p.answer(t, cfg, c.Conn)
		plays(t, c, p)
	}
}

// TestPlayerCloses ends by DTLS.
func TestPlayerCloses(t *testing.T) {
	cfg := newConfig(t)
	p := newPlayer(t, webrtc.DTLSRoleClient, webrtc.NetworkTypeUDP4)
	c := connect(t, cfg, p.remote())
	p.answer(t, cfg, c.Conn)
	plays(t, c, p)
	_ = p.GracefulClose()
	if err := c.result(t); !errors.Is(err, ErrGone) {
		t.Errorf("it ended with %v", err)
	}
}

// TestWrongFingerprint sends nothing to one whose certificate is not the
// offer's.
func TestWrongFingerprint(t *testing.T) {
	cfg := newConfig(t)
	p := newPlayer(t, webrtc.DTLSRoleClient, webrtc.NetworkTypeUDP4)
	r := p.remote()
	r.Fingerprints = []string{"sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":"), "sha-1 AB"}
	c := connect(t, cfg, r)
	p.answer(t, cfg, c.Conn)
	err := c.result(t)
	if err == nil || !strings.Contains(err.Error(), "fingerprint") {
		t.Errorf("it ended with %v", err)
	}
	if c.up.Load() || len(p.packets) > 0 {
		t.Error("the player was served")
	}
}

// TestFingerprints makes them by each hash; the other hashes prove nothing.
func TestFingerprints(t *testing.T) {
	const sum = "sha-256 BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD" // of "abc", FIPS 180-4
	if got := Fingerprint("sha-256", []byte("abc")); got != sum {
		t.Error(got)
	}
	for hash, size := range map[string]int{"sha-384": 48, "sha-512": 64} {
		if got := Fingerprint(hash, nil); len(got) != len(hash)+3*size || !strings.HasPrefix(got, hash+" ") {
			t.Error(got)
		}
	}
	if got := Fingerprint("sha-1", nil); got != "" {
		t.Error(got)
	}
	c := &Conn{remote: Remote{Fingerprints: []string{"", "sha-1 ", "sha-1"}}}
	if c.verify([][]byte{{1}}, nil) == nil || c.verify(nil, nil) == nil {
		t.Error("a hash that is not known proves something")
	}
}

// TestNeverRun closes what has not begun.
func TestNeverRun(t *testing.T) {
	cfg := newConfig(t)
	p := newPlayer(t, webrtc.DTLSRoleClient, webrtc.NetworkTypeUDP4)
	c, err := Open(cfg, p.remote(), &interceptor.Registry{}, func(State) {})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
}
