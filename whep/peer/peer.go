// Package peer connects one player for sending: ICE as the side that is called,
// DTLS-SRTP and RTCP, over sockets that all players share, with interceptors of
// pion between the sender and the wire. It is what a WebRTC peer connection
// needs for that, without negotiation and without what only receivers need: it
// costs a fraction of the memory, and a packet goes from the interceptors to
// the socket without a queue, a copy of its payload for each layer, or a
// goroutine on its way.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5"
)

// gatherTimeout bounds the wait for our own host candidates, which are at hand.
const gatherTimeout = 2 * time.Second

// tcpGrace is for the farewell to leave the buffer of a TCP connection, which is
// dropped with it.
const tcpGrace = 50 * time.Millisecond

// Why a connection ends; test with errors.Is.
var (
	ErrGone = errors.New("the player closed the connection")
	ErrLost = errors.New("the player does not answer any more")
)

// State is how far a connection has come. It may go back to Down, and from there
// to Up at once.
type State int

// The states in their order.
const (
	Down      State = iota // there is no path, as at the beginning
	Reachable              // there is one, but no keys
	Up                     // media can reach the player
)

// Config is what the connections of a server share. All but PublicIPs is
// required.
type Config struct {
	Network     func() (Network, error) // called for each connection
	TCP         ice.TCPMux
	Certificate tls.Certificate // of all connections
	PublicIPs   []string        // advertised instead of the interfaces' private addresses
	Log         logging.LoggerFactory
}

// Network is the machine's network as a connection finds it when it is opened.
type Network struct {
	UDP     ice.UDPMux
	Sockets []*Socket     // those under UDP; media goes through others by way of ICE
	Net     transport.Net // its interfaces' addresses are those of TCP candidates
}

// Remote is what the player's offer says of its transport.
type Remote struct {
	Ufrag, Pwd   string
	Fingerprints []string // "sha-256 AB:CD:..." as in SDP; the player's certificate has one of them
	Passive      bool     // a=setup:passive: the DTLS handshake begins here
	Lite         bool     // a=ice-lite: checks begin here
}

// Local is our end, for an answer.
type Local struct {
	Ufrag, Pwd string
	Candidates []string // values of a=candidate
}

// Conn is one player's connection. Methods are for any goroutine.
type Conn struct {
	// Static after Open.
	cfg     *Config
	sockets []*Socket
	remote  Remote
	agent   *ice.Agent
	chain   interceptor.Interceptor
	reader  interceptor.RTCPReader
	dtls    *pipe
	events  func(State)

	gathered chan struct{}           // one slot, never closed: a gathering has ended
	end      context.CancelCauseFunc // ends Run
	ended    context.Context
	path     atomic.Pointer[path]
	conn     *ice.Conn // set by Run, before anything is read

	stateMu      sync.Mutex // serialises events; guards iceUp and keyed, and changes of path
	iceUp, keyed bool

	outMu   sync.Mutex // guards what encrypts
	out     *srtp.Context
	sealer  *sealer // of RTP; nil: out encrypts it
	buf     []byte
	scratch rtp.Header

	inMu sync.Mutex // guards what decrypts, and serialises the interceptors' reading
	in   *srtp.Context
}

// path is where packets of the selected pair go.
type path struct {
	remote netip.AddrPort
	tcp    bool
	socket *Socket // to write to past ICE; nil if there is none
}

// Open makes a connection for the player that r describes, with registry's
// interceptors, and gathers our candidates. events is told of each new state in
// order; it must not block. The owner calls Run, or else Close.
func Open(cfg *Config, r Remote, registry *interceptor.Registry, events func(State)) (_ *Conn, err error) {
	c := &Conn{
		cfg: cfg, remote: r, events: events,
		gathered: make(chan struct{}, 1), buf: make([]byte, packetSize),
	}
	c.ended, c.end = context.WithCancelCause(context.Background())
	c.dtls = newPipe(c)
	if c.chain, err = registry.Build(""); err != nil {
		return nil, fmt.Errorf("interceptors: %w", err)
	}
	c.chain.BindRTCPWriter(interceptor.RTCPWriterFunc(c.writeControl))
	c.reader = c.chain.BindRTCPReader(interceptor.RTCPReaderFunc(c.decrypt))
	network, err := cfg.Network()
	if err == nil {
		c.sockets = network.Sockets
		c.agent, err = newAgent(cfg, network)
	}
	if err != nil {
		_ = c.chain.Close()
		return nil, fmt.Errorf("ice: %w", err)
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	err = errors.Join(
		c.agent.OnCandidate(func(candidate ice.Candidate) {
			if candidate == nil {
				select {
				case c.gathered <- struct{}{}:
				default:
				}
			}
		}),
		c.agent.OnSelectedCandidatePairChange(c.selected),
		c.agent.OnConnectionStateChange(func(s ice.ConnectionState) {
			c.change(func() {
				c.iceUp = s == ice.ConnectionStateConnected || s == ice.ConnectionStateCompleted
			})
			if s == ice.ConnectionStateFailed {
				c.end(ErrLost)
			}
		}),
		c.agent.SetRemoteICELite(r.Lite),
	)
	if err != nil {
		return nil, fmt.Errorf("ice: %w", err)
	}
	if err := c.gather(); err != nil {
		return nil, err
	}
	return c, nil
}

func newAgent(cfg *Config, n Network) (*ice.Agent, error) {
	options := []ice.AgentOption{
		ice.WithUDPMux(n.UDP), ice.WithTCPMux(cfg.TCP), ice.WithNet(n.Net), ice.WithLoggerFactory(cfg.Log),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6, ice.NetworkTypeTCP4, ice.NetworkTypeTCP6}),
		ice.WithIncludeLoopback(),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled), // players' checks come to us
		ice.WithDisableActiveTCP(),                             // never connect to an address of the player's choosing
		ice.WithDisconnectedTimeout(5 * time.Second), ice.WithFailedTimeout(10 * time.Second), ice.WithKeepaliveInterval(2 * time.Second),
	}
	if len(cfg.PublicIPs) > 0 {
		options = append(options, ice.WithAddressRewriteRules(ice.AddressRewriteRule{External: cfg.PublicIPs, AsCandidateType: ice.CandidateTypeHost}))
	}
	return ice.NewAgentWithOptions(options...)
}

// gather gathers our candidates and waits for the end of it.
func (c *Conn) gather() error {
	if err := c.agent.GatherCandidates(); err != nil {
		return fmt.Errorf("gather candidates: %w", err)
	}
	late := time.NewTimer(gatherTimeout)
	defer late.Stop()
	for {
		state, err := c.agent.GetGatheringState()
		if err != nil {
			return fmt.Errorf("gather candidates: %w", err)
		}
		if state == ice.GatheringStateComplete {
			return nil
		}
		select {
		case <-c.gathered:
		case <-late.C:
			return fmt.Errorf("gathering candidates took more than %v", gatherTimeout)
		}
	}
}

// Local is our end of the transport.
func (c *Conn) Local() (l Local, err error) {
	if l.Ufrag, l.Pwd, err = c.agent.GetLocalUserCredentials(); err != nil {
		return l, fmt.Errorf("ice: %w", err)
	}
	candidates, err := c.agent.GetLocalCandidates()
	if err != nil {
		return l, fmt.Errorf("ice: %w", err)
	}
	for _, candidate := range candidates {
		l.Candidates = append(l.Candidates, candidate.Marshal())
	}
	if len(l.Candidates) == 0 {
		return l, errors.New("there is no network address to offer")
	}
	return l, nil
}

// Contact sends checks to a candidate of the player's, the value of an
// a=candidate.
func (c *Conn) Contact(candidate string) error {
	remote, err := ice.UnmarshalCandidate(candidate)
	if err != nil {
		return fmt.Errorf("ice: %w", err)
	}
	return c.agent.AddRemoteCandidate(remote)
}

// Restart restarts ICE with the player's new credentials; keys and streams
// stay. Media stops until there is a new path.
func (c *Conn) Restart(ufrag, pwd string) error {
	c.change(func() { c.iceUp = false; c.move(nil) }) // the old pair is gone
	if err := c.agent.Restart("", ""); err != nil {
		return fmt.Errorf("restart ice: %w", err)
	}
	if err := c.gather(); err != nil {
		return err
	}
	if err := c.agent.SetRemoteCredentials(ufrag, pwd); err != nil {
		return fmt.Errorf("restart ice: %w", err)
	}
	return nil
}

// Bind makes a stream and returns the way to it through the interceptors. A
// write of n = 0 without an error is a packet that is lost for want of room or
// of a path. The header is not kept.
func (c *Conn) Bind(info *interceptor.StreamInfo) interceptor.RTPWriter {
	return c.chain.BindLocalStream(info, interceptor.RTPWriterFunc(c.write))
}

// Remote is where media goes; network is udp4, udp6, tcp4 or tcp6. ok is false
// without a path.
func (c *Conn) Remote() (to netip.AddrPort, network string, ok bool) {
	p := c.path.Load()
	if p == nil {
		return to, "", false
	}
	family := "4"
	if p.remote.Addr().Is6() {
		family = "6"
	}
	if p.tcp {
		return p.remote, "tcp" + family, true
	}
	return p.remote, "udp" + family, true
}

// Run connects and serves the connection until ctx ends or the player has gone,
// and closes it. The error is ErrGone, ErrLost, the cause of ctx, or what went
// wrong. It is called once.
func (c *Conn) Run(ctx context.Context) error {
	start := c.agent.StartAccept
	if c.remote.Lite {
		start = c.agent.StartDial
	}
	var err error
	if c.conn, err = start(c.remote.Ufrag, c.remote.Pwd); err != nil {
		c.Close()
		return fmt.Errorf("ice: %w", err)
	}
	defer context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })()
	defer context.AfterFunc(c.ended, c.dtls.end)() // wakes secure
	var reading sync.WaitGroup
	reading.Go(c.read)
	c.end(c.secure(c.ended))
	c.Close()
	reading.Wait()
	return context.Cause(c.ended)
}

// Close ends the connection and waits for the end of what it does. It may be
// called more than once.
func (c *Conn) Close() {
	c.outMu.Lock()
	c.out, c.sealer = nil, nil
	c.outMu.Unlock()
	c.dtls.end()
	if p := c.path.Load(); p != nil && p.tcp {
		time.Sleep(tcpGrace)
	}
	_ = c.agent.GracefulClose() // it closes what it can whatever it returns
	_ = c.chain.Close()
	c.change(func() { c.iceUp = false; c.move(nil) })
}

// move makes p the path. The caller holds stateMu.
func (c *Conn) move(p *path) {
	if p != nil && p.socket != nil {
		p.socket.register(p.remote, c)
	}
	old := c.path.Swap(p)
	if old != nil && old.socket != nil && (p == nil || *p != *old) {
		old.socket.forget(old.remote, c)
	}
}

// change changes the state, and tells the owner of it.
func (c *Conn) change(set func()) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	before := c.state()
	set()
	if now := c.state(); now != before {
		c.events(now)
	}
}

// state is the state. The caller holds stateMu.
func (c *Conn) state() State {
	switch {
	case !c.iceUp || c.path.Load() == nil:
		return Down
	case !c.keyed:
		return Reachable
	}
	return Up
}

// selected follows the selected pair.
func (c *Conn) selected(local, remote ice.Candidate) {
	p := &path{tcp: local.NetworkType().IsTCP(), remote: address(remote)}
	if !p.tcp {
		at := address(local)
		for _, s := range c.sockets {
			if s.local == at {
				p.socket = s
			}
		}
	}
	c.change(func() { c.move(p) })
}

// address is a candidate's address.
func address(c ice.Candidate) netip.AddrPort {
	addr, _ := netip.ParseAddr(c.Address())
	return netip.AddrPortFrom(addr.Unmap(), uint16(c.Port()))
}
