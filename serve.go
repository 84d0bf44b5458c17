package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/capture/x11"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// serve is the command that streams.
type serve struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of HTTP, WHEP and ICE-TCP; media uses UDP on the same port number. Port 0 picks a free one."`

	Source      string         `group:"Picture" default:"auto" enum:"auto,x11,wayland,screen,card" help:"What to stream: auto (the X11 or Wayland display, else the portable backend, else the test card), x11, wayland, screen (portable) or card."`
	Display     string         `group:"Picture" placeholder:":0" help:"Display to capture; $DISPLAY or $WAYLAND_DISPLAY if not given."`
	Target      string         `group:"Picture" default:"desktop" placeholder:"TARGET" help:"desktop, monitor:NAME, region:X,Y,W,H or window:ID; deskwhep monitors lists the names."`
	Cursor      string         `group:"Picture" default:"embedded" enum:"embedded,hidden" help:"The mouse cursor: embedded or hidden."`
	FPS         int            `group:"Picture" default:"30" help:"Frames per second at most."`
	MaxSize     size           `group:"Picture" placeholder:"WxH" help:"Scale larger pictures down to fit, such as 1920x1080."`
	Codecs      []encode.Codec `group:"Picture" default:"vp9,h264,vp8,av1" help:"Codecs that players may get, the best first."`
	Bitrate     bitrate        `group:"Picture" default:"6M" help:"Bits per second at most, such as 800k or 6M."`
	MaxEncoders int            `group:"Picture" default:"2" help:"Encoders of one stream at a time, when players differ in what they can decode."`

	Token       []string `group:"Access" placeholder:"TOKEN" help:"Players must send this token (repeatable)."`
	TokenFile   string   `group:"Access" type:"existingfile" help:"File with a token in each line."`
	Open        bool     `group:"Access" help:"Serve other machines without a token."`
	SessionAuth string   `group:"Access" default:"capability" enum:"capability,token" help:"What PATCH and DELETE need: capability (the session's URL is secret enough) or token."`
	CORSOrigin  string   `group:"Access" default:"*" name:"cors-origin" help:"Web origin whose pages may play, or *."`
	TLSCert     string   `group:"Access" name:"tls-cert" type:"existingfile" help:"Serve HTTPS with this certificate chain (PEM)."`
	TLSKey      string   `group:"Access" name:"tls-key" type:"existingfile" help:"Its private key (PEM)."`
	MaxViewers  int      `group:"Access" default:"32" help:"Viewers at a time."`
	PostRate    int      `group:"Access" default:"10" help:"New sessions per second that one address may ask for; raise it behind a proxy."`

	PublicIP          []string `group:"Network" name:"public-ip" placeholder:"IP" help:"Address to advertise instead of this machine's own, behind NAT or in a container."`
	ICEServer         []string `group:"Network" name:"ice-server" placeholder:"URL" help:"STUN or TURN server that players are told of: stun:HOST, or turn:USER:PASSWORD@HOST."`
	ContactCandidates bool     `group:"Network" help:"Send ICE checks to the candidates that players name. Without it their checks come here, and nothing is sent to an address that has not proved itself."`
	LenientPatch      bool     `group:"Network" help:"Accept trickled candidates without If-Match."`
	RTCPMuxOnly       bool     `group:"Network" name:"rtcp-mux-only" default:"true" negatable:"" help:"Write a=rtcp-mux-only into answers, as WHEP asks."`

	LogFormat string `group:"Log" default:"text" enum:"text,json" help:"text or json."`
	LogLevel  string `group:"Log" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
}

// bitrate is a number of bits per second, with k or M after it.
type bitrate int

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *bitrate) UnmarshalText(text []byte) error {
	s, factor := strings.ToLower(string(text)), 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		s, factor = s[:len(s)-1], 1e3
	case strings.HasSuffix(s, "m"):
		s, factor = s[:len(s)-1], 1e6
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v*factor < 50e3 || v*factor > 200e6 {
		return fmt.Errorf("%q is no bitrate from 50k to 200M", text)
	}
	*b = bitrate(v * factor)
	return nil
}

// size is a picture's size in pixels; zero is any.
type size image.Point

// UnmarshalText implements encoding.TextUnmarshaler.
func (z *size) UnmarshalText(text []byte) error {
	w, h, _ := strings.Cut(strings.ToLower(string(text)), "x")
	x, err1 := strconv.Atoi(w)
	y, err2 := strconv.Atoi(h)
	if err1 != nil || err2 != nil || x < 16 || y < 16 || x > 16384 || y > 16384 {
		return fmt.Errorf("%q is no size from 16x16 to 16384x16384", text)
	}
	*z = size{x, y}
	return nil
}

// Validate is called by kong.
func (s *serve) Validate() error {
	if s.MaxEncoders < 1 {
		return errors.New("--max-encoders is less than 1")
	}
	for _, c := range s.Codecs {
		if !slices.Contains(encode.Available(), c) {
			return fmt.Errorf("--codecs: %q is not among %v, which this program has", c, encode.Available())
		}
	}
	if _, err := x11.ParseTarget(s.Target); err != nil {
		return fmt.Errorf("--target: %w", err)
	}
	if s.FPS < 1 || s.FPS > 240 {
		return fmt.Errorf("--fps=%d is not from 1 to 240", s.FPS)
	}
	if s.MaxViewers < 1 || s.PostRate < 1 {
		return errors.New("--max-viewers and --post-rate are at least 1")
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key come together")
	}
	for _, ip := range s.PublicIP {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("--public-ip=%s is no IP address", ip)
		}
	}
	_, err := s.iceServers()
	return err
}

// iceServers reads --ice-server.
func (s *serve) iceServers() (list []whep.ICEServer, err error) {
	for _, text := range s.ICEServer {
		scheme, rest, _ := strings.Cut(text, ":")
		var i whep.ICEServer
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			i.Username, i.Credential, _ = strings.Cut(rest[:at], ":")
			rest = rest[at+1:]
		}
		i.URL = scheme + ":" + rest
		turn := scheme == "turn" || scheme == "turns"
		switch {
		case !turn && scheme != "stun" && scheme != "stuns", rest == "", strings.HasPrefix(rest, "/"):
			return nil, fmt.Errorf("--ice-server=%s is not of the form stun:HOST or turn:USER:PASSWORD@HOST", text)
		case turn && (i.Username == "" || i.Credential == ""):
			return nil, fmt.Errorf("--ice-server=%s has no user and password; write turn:USER:PASSWORD@HOST", text)
		case strings.ContainsAny(text, "\"',;<> \r\n\\"):
			return nil, fmt.Errorf("--ice-server=%s has a character that players cannot read", text)
		}
		list = append(list, i)
	}
	return list, nil
}

// tokens collects the tokens. An address that others can reach gets a random
// one when there is none.
func (s *serve) tokens() ([]string, error) {
	list := s.Token
	if s.TokenFile != "" {
		b, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		list = append(list, strings.Fields(string(b))...)
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen=%s is not of the form HOST:PORT: %w", s.Listen, err)
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if len(list) == 0 && !loopback && !s.Open {
		list = []string{rand.Text()}
	}
	return list, nil
}

// tls loads the certificate; nil without one.
func (s *serve) tls() (*tls.Config, error) {
	if s.TLSCert == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, nil
}

// linger is how long a source and an encoder outlive their last viewer.
const linger = 5 * time.Second

// Run serves until ctx ends.
func (s *serve) Run(ctx context.Context, out io.Writer) error {
	log, err := s.logger()
	if err != nil {
		return err
	}
	streams := map[string]whep.Stream{}
	var parts []func(context.Context) error
	for name, open := range map[string]func(context.Context) (capture.Source, error){"desktop": s.open, "card": s.openCard} {
		feed, stream := s.stream(open, log.With("stream", name))
		streams[name] = stream
		parts = append(parts, feed.Run, stream.Run)
	}
	tokens, err := s.tokens()
	if err != nil {
		return err
	}
	certificate, err := s.tls()
	if err != nil {
		return err
	}
	ice, err := s.iceServers()
	if err != nil {
		return err
	}
	server, err := whep.New(s.Listen, whep.Config{
		Streams: streams, Default: "desktop",
		Tokens: tokens, SessionToken: s.SessionAuth == "token", CORSOrigin: s.CORSOrigin, TLS: certificate,
		MaxViewers: s.MaxViewers, PostRate: s.PostRate,
		ICEServers: ice, PublicIPs: s.PublicIP, ContactCandidates: s.ContactCandidates,
		LenientPatch: s.LenientPatch, RTCPMuxOnly: s.RTCPMuxOnly,
		Pages: player.Handler(), Log: log,
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range append(parts, server.Run) {
		g.Go(func() error { return part(ctx) })
	}
	s.greet(out, server.Addr(), tokens)
	return g.Wait()
}

// stream makes a feed and the encoders of what it shows.
func (s *serve) stream(open func(context.Context) (capture.Source, error), log *slog.Logger) (*capture.Feed, *encode.Stream) {
	feed := capture.NewFeed(capture.FeedConfig{
		Open: open,
		Card: func(size image.Point, reason func() string) capture.Source {
			return s.card(size, func() string { return "No picture of the desktop: " + reason() + "." })
		},
		FPS: float64(s.FPS), Linger: linger, Log: log,
	})
	stream := encode.NewStream(encode.StreamConfig{
		Watch:  func() encode.Tap { return feed.Watch() },
		Size:   func() image.Point { return feed.Status().Info.Size },
		Codecs: s.Codecs, FPS: s.FPS, Bitrate: int(s.Bitrate), MaxSize: image.Point(s.MaxSize), MaxEncoders: s.MaxEncoders,
		Linger: linger, Log: log,
	})
	return feed, stream
}

func (s *serve) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
}

func (s *serve) card(size image.Point, reason func() string) capture.Source {
	return card.New(card.Options{Size: size, FPS: float64(s.FPS), Reason: reason})
}

func (s *serve) openCard(context.Context) (capture.Source, error) {
	return s.card(image.Point{}, func() string { return "This is the test card." }), nil
}

// greet tells where to watch.
func (s *serve) greet(out io.Writer, addr netip.AddrPort, tokens []string) {
	if addr.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	base, query := "http://"+addr.String(), ""
	if s.TLSCert != "" {
		base = "https://" + addr.String()
	}
	if len(tokens) > 0 {
		query = "?token=" + url.QueryEscape(tokens[0])
	}
	fmt.Fprintf(out, "Player:  %s/%s\nWHEP:    %s/whep%s\nStop with Ctrl-C.\n", base, query, base, query)
}
