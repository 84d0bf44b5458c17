// Package whep speaks WHEP (draft-ietf-wish-whep): it turns HTTP exchanges into
// sessions, and sessions into RTP. The player page lives in whep/player.
package whep

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"deskwhep/encode"
	"deskwhep/whep/peer"
)

// Stream is what viewers watch; *encode.Stream is one.
type Stream interface {
	// Join adds a viewer who can decode any of wants, and tells which codec it
	// gets. The error wraps encode.ErrNoCodec, encode.ErrBusy, or ErrIdle when
	// there is nothing to play now.
	Join(wants []encode.Want) (*encode.Viewer, encode.Codec, error)
}

// Config configures a Server. Streams, Default and Log are required.
type Config struct {
	Streams map[string]Stream // by the last part of their URL
	Default string            // the stream of /whep itself

	Tokens       []string                // any of them opens every stream; none: open to all
	Valid        func(token string) bool // further tokens that open every stream; with it, some token is needed; may be nil
	SessionToken bool                    // PATCH and DELETE need the token too; the session URL alone does not do
	CORSOrigin   string                  // "*", or one origin; empty for "*" with tokens, without for this server's and this machine's pages
	TLS          *tls.Config             // HTTPS when not nil; certificates come from it
	MaxViewers   int                     // sessions at a time; 0 for 32
	PostRate     int                     // POSTs per second of one address, four times as many in a burst; 0 for 10
	ICEServers   []ICEServer

	PublicIPs         []string // advertised instead of the interfaces' private addresses
	ContactCandidates bool     // send ICE checks to the candidates that players name
	LenientPatch      bool     // accept a trickle PATCH without If-Match
	RTCPMuxOnly       bool     // write a=rtcp-mux-only into answers, as WHEP asks

	SetupTimeout time.Duration           // from POST to connected; 0 for 10 s
	Pages        http.Handler            // what is served to all outside /whep; may be nil
	Guarded      map[string]http.Handler // by "PATH" (GET and HEAD) or "METHOD PATH", with :NAME for PathValue: what needs a token, where there are tokens
	Observer     Observer                // may be nil
	Log          *slog.Logger
}

// ICEServer is a STUN or TURN server that players are told of (RFC 9725, 4.6).
type ICEServer struct {
	URL                  string // stun:, stuns:, turn: or turns:, without //
	Username, Credential string // for TURN
}

// unconnectedMost bounds the sessions that have not connected yet.
const unconnectedMost = 32

// Server is a WHEP server.
type Server struct {
	// Static after New.
	cfg         Config
	log         *slog.Logger
	echo        *echo.Echo
	ports       *ports
	peers       peer.Config
	fingerprint string // of the certificate
	limits      *limits
	sender      *sender

	mu       sync.Mutex
	sessions map[string]*session
	counted  map[*session]struct{} // those whose goroutines run: some of them are not known any more
	past     map[string]Totals     // of the others, by stream
	opening  int                   // sessions that are being negotiated
	draining bool
	ended    []string       // ids of the sessions that End ended last
	running  sync.WaitGroup // sessions' goroutines
}

// New opens the server's sockets on the TCP address listen: HTTP and ICE-TCP
// there, media over UDP on the same port number of every interface. Port 0
// picks a free one.
func New(listen string, cfg Config) (*Server, error) {
	if cfg.MaxViewers == 0 {
		cfg.MaxViewers = 32
	}
	if cfg.PostRate == 0 {
		cfg.PostRate = 10
	}
	if cfg.SetupTimeout == 0 {
		cfg.SetupTimeout = 10 * time.Second
	}
	if cfg.Observer == nil {
		cfg.Observer = unobserved{}
	}
	if _, ok := cfg.Streams[cfg.Default]; !ok {
		return nil, fmt.Errorf("the default stream %q is not among the streams", cfg.Default)
	}
	certificate, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("make the DTLS certificate: %w", err)
	}
	p, err := openPorts(listen, cfg.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, ports: p, limits: newLimits(cfg.PostRate), sender: newSender(p.flush),
		peers: peer.Config{
			Network: p.network, TCP: p.tcpMux, Certificate: certificate, PublicIPs: cfg.PublicIPs, Log: stackLogs{cfg.Log},
		},
		fingerprint: peer.Fingerprint("sha-256", certificate.Certificate[0]),
		sessions:    map[string]*session{},
		counted:     map[*session]struct{}{},
		past:        map[string]Totals{},
	}
	s.echo = s.routes()
	return s, nil
}

// Addr is the address of HTTP; media has the same port.
func (s *Server) Addr() netip.AddrPort {
	return s.ports.web.Addr().(*net.TCPAddr).AddrPort()
}

// Handler serves all of the server's HTTP.
func (s *Server) Handler() http.Handler { return s.echo }

// Run serves until ctx ends, then ends all sessions and returns when they have.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.echo,
		TLSConfig:         s.cfg.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(s.ports.split)
	g.Go(func() error { return s.sender.run(ctx) })
	g.Go(func() error {
		var err error
		if s.cfg.TLS != nil {
			err = server.ServeTLS(s.ports.web, "", "")
		} else {
			err = server.Serve(s.ports.web)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve http: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.drain()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close() // requests that do not end in time
		}
		return s.ports.close()
	})
	return g.Wait()
}

// drain refuses new sessions, ends those that run and waits for them. Their
// players see DTLS end.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	for _, ses := range s.sessions {
		ses.end(errShutdown)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// reserve takes a place for a new session, which admit or release gives back.
func (s *Server) reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unconnected := s.opening
	for _, ses := range s.sessions {
		if !ses.connected.Load() {
			unconnected++
		}
	}
	switch {
	case s.draining:
		return fmt.Errorf("%w: the server is shutting down", ErrFull)
	case len(s.sessions)+s.opening >= s.cfg.MaxViewers:
		return fmt.Errorf("%w: the limit is %d (--max-viewers)", ErrFull, s.cfg.MaxViewers)
	case unconnected >= unconnectedMost:
		return fmt.Errorf("%w: %d sessions are still connecting; try again shortly", ErrFull, unconnected)
	}
	s.opening++
	s.running.Add(1)
	return nil
}

func (s *Server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	s.running.Done()
}

// admit makes the session known and runs it until it ends.
func (s *Server) admit(ctx context.Context, ses *session) {
	s.mu.Lock()
	s.opening--
	s.sessions[ses.id] = ses
	s.counted[ses] = struct{}{}
	if s.draining {
		ses.end(errShutdown)
	}
	s.mu.Unlock()
	ses.log.Info("session begins", "codec", ses.codecs())
	go func() {
		defer s.running.Done()
		reason := ses.run(ctx, s.cfg.SetupTimeout)
		s.settle(ses)
		ses.log.Info("session ends", "reason", reason, "lasted", time.Since(ses.created).Round(time.Millisecond))
	}()
}

// find is the session with the id, if it belongs to the stream and lives.
func (s *Server) find(stream, id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses, ok := s.sessions[id]
	if slices.Contains(s.ended, id) {
		return nil, ErrEnded
	}
	if !ok || ses.stream != stream {
		return nil, fmt.Errorf("%w: this session has ended or never was; POST a new offer", ErrUnknown)
	}
	return ses, nil
}

// forget makes an ending session unknown at once.
func (s *Server) forget(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ses.id)
}

// endedMost bounds the sessions whose players are told that they were ended.
const endedMost = 256

// End ends the session that ViewerStatus tells of under this name, and reports
// whether there was one. Its player is told by DTLS, and by 410 when it asks.
func (s *Server) End(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ses := range s.sessions {
		if len(session) < 8 || !strings.HasPrefix(id, session) {
			continue
		}
		delete(s.sessions, id)
		s.ended = append(s.ended[max(0, len(s.ended)-endedMost+1):], id)
		ses.end(ErrEnded)
		return true
	}
	return false
}

// Viewers is the number of sessions.
func (s *Server) Viewers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}
