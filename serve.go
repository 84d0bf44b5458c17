package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/capture/screen"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// serve is the command that streams.
type serve struct {
	Listen     string   `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of HTTP, WHEP and ICE-TCP; media uses UDP on the same port number. Port 0 picks a free one."`
	Source     string   `default:"auto" enum:"auto,screen,card" help:"What to stream: auto (the display, else the test card), screen, card."`
	Display    string   `placeholder:":0" env:"DISPLAY" help:"X11 display to capture."`
	FPS        float64  `default:"30" help:"Frames per second at most."`
	Bitrate    bitrate  `default:"6M" help:"Bits per second at most, such as 800k or 6M."`
	Token      []string `placeholder:"TOKEN" help:"Players must send this token (repeatable)."`
	MaxViewers int      `default:"32" help:"Viewers at a time."`
	CORSOrigin string   `default:"*" name:"cors-origin" help:"Web origin whose pages may play, or *."`
	LogFormat  string   `default:"text" enum:"text,json" help:"text or json."`
	LogLevel   string   `default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
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

// Validate is called by kong.
func (s *serve) Validate() error {
	if s.FPS < 1 || s.FPS > 240 {
		return fmt.Errorf("--fps=%v is not from 1 to 240", s.FPS)
	}
	if s.MaxViewers < 1 {
		return errors.New("--max-viewers is less than 1")
	}
	return nil
}

// linger is how long a source and an encoder outlive their last viewer.
const linger = 5 * time.Second

// Run serves until ctx ends.
func (s *serve) Run(ctx context.Context, out io.Writer) error {
	log, err := s.logger()
	if err != nil {
		return err
	}
	feeds := map[string]*capture.Feed{
		"desktop": s.feed(s.open, log.With("stream", "desktop")),
		"card":    s.feed(func(context.Context) (capture.Source, error) { return testCard(image.Point{}, s.FPS, nil), nil }, log.With("stream", "card")),
	}
	if s.Display != "" {
		// The screen library reads only the environment.
		if err := os.Setenv("DISPLAY", s.Display); err != nil {
			return fmt.Errorf("--display: %w", err)
		}
	}
	streams := map[string]whep.Stream{}
	g, ctx := errgroup.WithContext(ctx)
	var parts []func(context.Context) error
	for name, feed := range feeds {
		hub := encode.NewHub(encode.HubConfig{
			Watch: func() encode.Tap { return feed.Watch() },
			Open: func() (encode.Encoder, encode.Packetizer, error) {
				return encode.NewEncoder(encode.VP8, int(s.Bitrate), int(s.FPS))
			},
			FPS: int(s.FPS), KeyInterval: encode.KeyInterval(encode.VP8), Linger: linger, Log: log.With("stream", name),
		})
		streams[name] = single{encode.VP8, hub}
		parts = append(parts, feed.Run, hub.Run)
	}
	server, err := whep.New(s.Listen, whep.Config{
		Streams: streams, Default: "desktop", Tokens: s.Token, MaxViewers: s.MaxViewers, CORSOrigin: s.CORSOrigin,
		RTCPMuxOnly: true, Pages: player.Handler(), Log: log,
	})
	if err != nil {
		return err
	}
	for _, part := range append(parts, server.Run) {
		g.Go(func() error { return part(ctx) })
	}
	s.greet(out, server.Addr())
	return g.Wait()
}

// single is a stream with one codec.
type single struct {
	codec encode.Codec
	hub   *encode.Hub
}

// Choose implements whep.Stream.
func (s single) Choose(wanted []encode.Request) (encode.Codec, func() *encode.Viewer, error) {
	for _, w := range wanted {
		if w.Codec == s.codec {
			return s.codec, s.hub.Join, nil
		}
	}
	return "", nil, fmt.Errorf("%w: the stream is encoded as %s, which the player does not offer", whep.ErrUnservable, s.codec)
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

func (s *serve) feed(open func(context.Context) (capture.Source, error), log *slog.Logger) *capture.Feed {
	return capture.NewFeed(capture.FeedConfig{
		Open: open,
		Card: func(size image.Point, reason func() string) capture.Source {
			return testCard(size, s.FPS, func() string { return "No picture of the desktop: " + reason() + "." })
		},
		FPS: s.FPS, Linger: linger, Log: log,
	})
}

func testCard(size image.Point, fps float64, reason func() string) capture.Source {
	if reason == nil {
		reason = func() string { return "This is the test card." }
	}
	return card.New(card.Options{Size: size, FPS: fps, Reason: reason})
}

// open opens the source that the flags ask for.
func (s *serve) open(ctx context.Context) (capture.Source, error) {
	switch {
	case s.Source == "card":
		return testCard(image.Point{}, s.FPS, nil), nil
	case runtime.GOOS == "linux" && s.Display == "":
		return nil, fmt.Errorf("%w: DISPLAY is not set; start deskwhep in a desktop session, or with --display", capture.ErrNoDisplay)
	}
	return screen.Open(ctx, screen.Options{FPS: s.FPS})
}

// greet tells where to watch.
func (s *serve) greet(out io.Writer, addr netip.AddrPort) {
	host := addr.String()
	if addr.Addr().IsUnspecified() {
		host = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port()).String()
	}
	query := ""
	if len(s.Token) > 0 {
		query = "?token=" + s.Token[0]
	}
	fmt.Fprintf(out, "Player:  http://%s/%s\nWHEP:    http://%s/whep%s\nStop with Ctrl-C.\n", host, query, host, query)
}
