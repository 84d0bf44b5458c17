package peer

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/packetio"
)

const (
	packetSize = 1600     // bytes; more than comes or goes
	dtlsMost   = 64 << 10 // bytes that wait
)

// profiles are the SRTP profiles, the best first: the server of a handshake
// chooses, and AES-GCM costs an eighth of AES-CM with HMAC.
var profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

// isGCM tells whether a profile is AES-GCM.
func isGCM(p dtls.SRTPProtectionProfile) bool {
	return p == dtls.SRTP_AEAD_AES_128_GCM || p == dtls.SRTP_AEAD_AES_256_GCM
}

// secure waits for a path, makes the keys, and waits for the end of DTLS.
func (c *Conn) secure(ctx context.Context) error {
	if err := c.agent.AwaitConnect(ctx); err != nil {
		return fmt.Errorf("ice: %w", err)
	}
	conn, err := c.handshaker()
	if err != nil {
		return fmt.Errorf("dtls: %w", err)
	}
	c.dtls.set(conn)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("dtls: %w", err)
	}
	if err := c.keys(conn); err != nil {
		return fmt.Errorf("srtp: %w", err)
	}
	c.change(func() { c.keyed = true })
	var harmless *dtls.TemporaryError
	for { // no data is expected
		if _, err := conn.Read(nil); err != nil && !errors.As(err, &harmless) {
			return ErrGone
		}
	}
}

// handshaker is our end of the DTLS connection, before its handshake.
func (c *Conn) handshaker() (*dtls.Conn, error) {
	common := []dtls.Option{
		dtls.WithCertificates(c.cfg.Certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithEllipticCurves(elliptic.X25519, elliptic.P256),
		dtls.WithInsecureSkipVerify(true), // certificates are self-signed; their fingerprint counts
		dtls.WithVerifyPeerCertificate(c.verify),
		dtls.WithLoggerFactory(c.cfg.Log),
	}
	if c.remote.Passive {
		options := make([]dtls.ClientOption, len(common))
		for i, o := range common {
			options[i] = o
		}
		return dtls.ClientWithOptions(c.dtls, c.dtls.LocalAddr(), options...)
	}
	options := []dtls.ServerOption{
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true), // ICE has proved the address already
	}
	for _, o := range common {
		options = append(options, o)
	}
	return dtls.ServerWithOptions(c.dtls, c.dtls.LocalAddr(), options...)
}

// verify checks that the player's certificate has one of the fingerprints of
// its offer (RFC 8122, 5).
func (c *Conn) verify(certificates [][]byte, _ [][]*x509.Certificate) error {
	if len(certificates) == 0 {
		return errors.New("the player has no certificate")
	}
	for _, f := range c.remote.Fingerprints {
		if name, _, _ := strings.Cut(f, " "); f != "" && f == Fingerprint(name, certificates[0]) {
			return nil
		}
	}
	return errors.New("the player's certificate has another fingerprint than its offer")
}

// Fingerprint is the value of an a=fingerprint for a certificate in DER: the
// name of the hash, which is sha-256, sha-384 or sha-512, and its bytes in
// hexadecimal. It is empty for other names.
func Fingerprint(hash string, certificate []byte) string {
	var sum []byte
	switch hash {
	case "sha-256":
		s := sha256.Sum256(certificate)
		sum = s[:]
	case "sha-384":
		s := sha512.Sum384(certificate)
		sum = s[:]
	case "sha-512":
		s := sha512.Sum512(certificate)
		sum = s[:]
	default:
		return ""
	}
	return hash + " " + strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

// keys makes the SRTP contexts from the handshake.
func (c *Conn) keys(conn *dtls.Conn) error {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("the player knows none of our profiles")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("the handshake left no keys")
	}
	keys := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := keys.ExtractSessionKeysFromDTLS(&state, c.remote.Passive); err != nil {
		return err
	}
	out, err := srtp.CreateContext(keys.Keys.LocalMasterKey, keys.Keys.LocalMasterSalt, keys.Profile)
	if err != nil {
		return err
	}
	in, err := srtp.CreateContext(keys.Keys.RemoteMasterKey, keys.Keys.RemoteMasterSalt, keys.Profile, srtp.SRTCPReplayProtection(64))
	if err != nil {
		return err
	}
	var seal *sealer
	if isGCM(profile) {
		if seal, err = newSealer(keys.Keys.LocalMasterKey, keys.Keys.LocalMasterSalt); err != nil {
			return err
		}
	}
	c.outMu.Lock()
	c.out, c.sealer = out, seal
	c.outMu.Unlock()
	c.inMu.Lock()
	c.in = in
	c.inMu.Unlock()
	return nil
}

// write encrypts a packet and sends it. It is the end of the interceptors.
func (c *Conn) write(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if c.out == nil {
		return 0, nil
	}
	if c.sealer != nil {
		b, err := c.sealer.seal(c.buf[:0], h, payload)
		if err != nil {
			return 0, err
		}
		return c.transmit(b)
	}
	n, err := h.MarshalTo(c.buf)
	if err != nil {
		return 0, err
	}
	if n+len(payload) > len(c.buf)-srtpMost {
		return 0, fmt.Errorf("a packet of %d bytes", n+len(payload))
	}
	n += copy(c.buf[n:], payload)
	b, err := c.out.EncryptRTP(c.buf, c.buf[:n], &c.scratch)
	if err != nil {
		return 0, err
	}
	return c.transmit(b)
}

// srtpMost is the most that SRTP adds to a packet, in bytes.
const srtpMost = 32

// transmit sends an encrypted packet. The caller holds outMu.
func (c *Conn) transmit(b []byte) (int, error) {
	p := c.path.Load()
	if p == nil {
		return 0, nil
	}
	if p.socket != nil {
		return p.socket.WriteToAddrPort(b, p.remote)
	}
	return c.conn.Write(b)
}

// writeControl encrypts RTCP and sends it.
func (c *Conn) writeControl(packets []rtcp.Packet, _ interceptor.Attributes) (int, error) {
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return 0, err
	}
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if c.out == nil {
		return 0, nil
	}
	b, err := c.out.EncryptRTCP(c.buf[:0], plain, nil)
	if err != nil {
		return 0, err
	}
	return c.transmit(b)
}

// read reads what comes through ICE until the connection is closed. What is
// neither DTLS nor RTCP is dropped.
func (c *Conn) read() {
	b := make([]byte, packetSize)
	for {
		n, err := c.conn.Read(b)
		switch {
		case err != nil:
			return
		case n > 0 && b[0] >= 20 && b[0] <= 63: // RFC 7983
			c.dtls.put(b[:n])
		case isControl(b[:n]):
			c.take(b[:n])
		}
	}
}

// take lets the interceptors read RTCP. What is not the player's is dropped.
func (c *Conn) take(encrypted []byte) {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	if c.in != nil {
		_, _, _ = c.reader.Read(encrypted, nil)
	}
}

// decrypt decrypts b in place. It is the beginning of the interceptors. The
// caller holds inMu.
func (c *Conn) decrypt(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
	plain, err := c.in.DecryptRTCP(b, b, nil)
	return len(plain), a, err
}

// pipe is the packets of DTLS among all that come; it implements
// net.PacketConn.
type pipe struct {
	owner *Conn
	in    *packetio.Buffer
	close sync.Once

	mu    sync.Mutex // guards below
	conn  *dtls.Conn
	ended bool
}

func newPipe(owner *Conn) *pipe {
	p := &pipe{owner: owner, in: packetio.NewBuffer()}
	p.in.SetLimitSize(dtlsMost)
	return p
}

// set makes end close conn.
func (p *pipe) set(conn *dtls.Conn) {
	p.mu.Lock()
	ended := p.ended
	p.conn = conn
	p.mu.Unlock()
	if ended {
		_ = conn.Close()
	}
}

// end closes the DTLS connection. When it returns, also for the second time,
// the player has been told.
func (p *pipe) end() {
	p.mu.Lock()
	conn := p.conn
	p.ended = true
	p.mu.Unlock()
	p.close.Do(func() {
		if conn != nil {
			_ = conn.Close() // the player may be gone
		}
		_ = p.in.Close()
	})
}

func (p *pipe) put(b []byte) { _, _ = p.in.Write(b, nil) } // what has no room comes again

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := p.in.Read(b, nil)
	return n, p.LocalAddr(), err
}

// WriteTo implements net.PacketConn; there is one player.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) { return p.owner.conn.Write(b) }

// Close implements net.PacketConn.
func (p *pipe) Close() error { return p.in.Close() }

// LocalAddr implements net.PacketConn. ICE knows the addresses.
func (p *pipe) LocalAddr() net.Addr { return nowhere }

var nowhere = &net.UDPAddr{IP: net.IPv4zero}

// SetDeadline implements net.PacketConn. Writes do not wait.
func (p *pipe) SetDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *pipe) SetReadDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
