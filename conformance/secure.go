package conformance

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/packetio"
)

// maxEarly bounds the packets that are kept until there are keys.
const maxEarly = 512

// secure is the DTLS association of a peer and the SRTP keys from it.
type secure struct {
	peer *peer
	pipe pipe
	up   chan struct{} // closed when run has an outcome; never before

	// Guarded by the peer's mu.
	conn       *dtls.Conn
	err        error // why there is no association
	in, out    *srtp.Context
	closed     time.Time // when the server closed it
	hellos     int       // ClientHello and ServerHello records seen
	early      [][]byte  // packets that came before there were keys, at most maxEarly
	undecoded  int       // packets the keys do not open
	peerDigest string    // fingerprint of the certificate the server showed
}

func (s *secure) init(p *peer) {
	s.peer = p
	s.pipe = pipe{buf: packetio.NewBuffer(), peer: p}
	s.pipe.buf.SetLimitCount(64)
	s.up = make(chan struct{})
}

// run waits for a nominated pair, makes the handshake and reads until the
// association ends.
func (s *secure) run(client bool) {
	defer s.peer.wg.Done()
	conn, err := s.handshake(client)
	p := s.peer
	p.mu.Lock()
	s.conn, s.err = conn, err
	if err == nil {
		s.err = s.keys(client)
	}
	p.mu.Unlock()
	close(s.up)
	if err != nil {
		return
	}
	buf := make([]byte, 2048)
	for {
		if _, err := conn.Read(buf); err != nil {
			if p.ctx.Err() == nil && errors.Is(err, io.EOF) {
				p.mu.Lock()
				s.closed = time.Now()
				p.mu.Unlock()
			}
			return
		}
	}
}

func (s *secure) handshake(client bool) (*dtls.Conn, error) {
	for !s.peer.isNominated() {
		select {
		case <-s.peer.ctx.Done():
			return nil, errors.New("no connectivity check succeeded")
		case <-time.After(10 * time.Millisecond):
		}
	}
	options := []dtls.Option{
		dtls.WithCertificates(s.peer.cert),
		dtls.WithInsecureSkipVerify(true), // the fingerprint decides
		dtls.WithVerifyPeerCertificate(s.verify),
		dtls.WithFlightInterval(300 * time.Millisecond),
		dtls.WithSRTPProtectionProfiles(
			dtls.SRTPProtectionProfile(srtp.ProtectionProfileAeadAes128Gcm),
			dtls.SRTPProtectionProfile(srtp.ProtectionProfileAes128CmHmacSha1_80)),
	}
	var conn *dtls.Conn
	var err error
	if client {
		conn, err = dtls.ClientWithOptions(&s.pipe, nowhere, clientOptions(options)...)
	} else {
		conn, err = dtls.ServerWithOptions(&s.pipe, nowhere, serverOptions(options)...)
	}
	if err != nil {
		return nil, fmt.Errorf("begin DTLS: %w", err)
	}
	if err := conn.HandshakeContext(s.peer.ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("DTLS handshake: %w", err)
	}
	return conn, nil
}

func clientOptions(all []dtls.Option) (o []dtls.ClientOption) {
	for _, option := range all {
		o = append(o, option)
	}
	return o
}

func serverOptions(all []dtls.Option) (o []dtls.ServerOption) {
	for _, option := range all {
		o = append(o, option)
	}
	return append(o, dtls.WithClientAuth(dtls.RequireAnyClientCert))
}

// verify compares the certificate with the fingerprint of the answer. Stronger
// hashes than sha-256 are taken on trust.
func (s *secure) verify(certs [][]byte, _ [][]*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the server showed no certificate")
	}
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	s.peerDigest = fingerprint(certs[0])
	want := p.remote.fingerprint
	if strings.HasPrefix(strings.ToLower(want), "sha-256 ") && !strings.EqualFold(want, s.peerDigest) {
		return fmt.Errorf("the certificate is %s, the answer says %s", s.peerDigest, want)
	}
	return nil
}

// keys derives the SRTP contexts. The caller holds the peer's mu.
func (s *secure) keys(client bool) error {
	profile, ok := s.conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("DTLS agreed on no SRTP profile")
	}
	c := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	state, _ := s.conn.ConnectionState()
	if err := c.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return fmt.Errorf("derive SRTP keys: %w", err)
	}
	in, err := srtp.CreateContext(c.Keys.RemoteMasterKey, c.Keys.RemoteMasterSalt, c.Profile,
		srtp.SRTPNoReplayProtection(), srtp.SRTCPNoReplayProtection())
	if err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	out, err := srtp.CreateContext(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt, c.Profile)
	if err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	s.in, s.out = in, out
	early := s.early
	s.early = nil
	for _, packet := range early {
		s.srtp(packet)
	}
	return nil
}

// record takes a DTLS packet. The caller holds the peer's mu.
func (s *secure) record(packet []byte) {
	const handshake, clientHello, serverHello = 22, 1, 2
	if len(packet) > 13 && packet[0] == handshake && packet[3] == 0 && packet[4] == 0 &&
		(packet[13] == clientHello || packet[13] == serverHello) {
		s.hellos++
	}
	_, _ = s.pipe.buf.Write(packet, nil) // a full buffer loses it, as a network may
}

// srtp takes an SRTP or SRTCP packet. The caller holds the peer's mu.
func (s *secure) srtp(packet []byte) {
	isRTCP := len(packet) > 1 && packet[1] >= 192 && packet[1] < 224
	if s.in == nil {
		// The server may send as soon as its own half of the handshake is done.
		if len(s.early) < maxEarly {
			s.early = append(s.early, slices.Clone(packet))
		}
		return
	}
	if isRTCP {
		plain, err := s.in.DecryptRTCP(nil, packet, nil)
		if err != nil {
			s.undecoded++
			return
		}
		s.peer.media.rtcp(plain)
		return
	}
	var h rtp.Header
	plain, err := s.in.DecryptRTP(nil, packet, &h)
	if err != nil {
		s.undecoded++
		return
	}
	s.peer.media.rtp(plain)
}

// feedback sends RTCP to the server; without keys it does nothing.
func (p *peer) feedback(packets ...rtcp.Packet) {
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	p.mu.Lock()
	out := p.secure.out
	var sealed []byte
	if out != nil {
		sealed, err = out.EncryptRTCP(nil, plain, nil)
	}
	p.mu.Unlock()
	if out != nil && err == nil {
		_ = p.send(sealed) // RTCP may be lost
	}
}

// close ends the association with close_notify.
func (s *secure) close() {
	s.peer.mu.Lock()
	conn := s.conn
	s.peer.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // the other side may be gone
	}
}

// closedAt is when the server closed the association; zero: not yet.
func (s *secure) closedAt() time.Time {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.closed
}

// connect waits for the association, and says what is missing otherwise.
func (p *peer) connect(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.secure.up:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.secure.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.nominated:
		return fmt.Errorf("ICE connected to %s, but DTLS did not finish in %v", p.path.to, limit)
	case p.refusal != "":
		return fmt.Errorf("connectivity checks are answered with %s", p.refusal)
	default:
		return fmt.Errorf("no connectivity check to %v was answered in %v", p.remote.addrs, limit)
	}
}

// pipe is the net.PacketConn that DTLS gets: the peer's current path.
type pipe struct {
	buf  *packetio.Buffer
	peer *peer
}

var nowhere = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}

func (c *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := c.buf.Read(b, nil)
	return n, nowhere, err
}

func (c *pipe) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), c.peer.send(b) }
func (c *pipe) Close() error                              { return c.buf.Close() }
func (c *pipe) LocalAddr() net.Addr                       { return nowhere }
func (c *pipe) SetDeadline(t time.Time) error             { return c.buf.SetReadDeadline(t) }
func (c *pipe) SetReadDeadline(t time.Time) error         { return c.buf.SetReadDeadline(t) }
func (c *pipe) SetWriteDeadline(time.Time) error          { return nil }
