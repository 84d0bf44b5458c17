package main

import (
	"context"
	"image"
	"io"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// serve is the command that streams.
type serve struct {
	Settings settings `embed:""`
}

// linger is how long a source and an encoder outlive their last viewer.
const linger = 5 * time.Second

// show is a stream that runs.
type show struct {
	stream
	feed    *capture.Feed
	encoded *encode.Stream
}

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context, k *kong.Context, f *file, out io.Writer, stderr logWriter) error {
	s := &c.Settings
	streams, err := s.resolve(k, f)
	if err != nil {
		return err
	}
	screen := newConsole(out, stderr)
	log := s.logger(screen.log)
	tokens, err := s.tokens()
	if err != nil {
		return err
	}
	certificate, err := s.certificate()
	if err != nil {
		return err
	}
	public, err := s.publicCertificates()
	if err != nil {
		return err
	}
	ice, err := s.iceServers()
	if err != nil {
		return err
	}
	site := &site{privacy: newPrivacy(), tokens: len(tokens) > 0, timings: newTimings(), log: log}
	cfg := whep.Config{
		Streams: map[string]whep.Stream{}, Default: "desktop",
		Tokens: tokens, SessionToken: s.SessionAuth == "token", CORSOrigin: s.CORSOrigin,
		MaxViewers: s.MaxViewers, PostRate: s.PostRate,
		ICEServers: ice, PublicIPs: s.PublicIP, ContactCandidates: s.ContactCandidates,
		LenientPatch: s.LenientPatch, RTCPMuxOnly: s.RTCPMuxOnly,
		Pages: site.public(player.Handler()), Guarded: site.guarded(), Observer: site.timings, Log: log,
	}
	switch {
	case certificate != nil:
		cfg.TLS = certificate.config()
	case public != nil:
		cfg.TLS = public.TLSConfig()
	}
	if len(tokens) > 0 {
		cfg.Valid = func(link string) bool { return validLink(tokens, link, time.Now()) }
	}
	var parts []func(context.Context) error
	for _, one := range streams {
		on := one.start(site.privacy, log.With("stream", one.name))
		site.shows = append(site.shows, on)
		cfg.Streams[one.name] = on.encoded
		parts = append(parts, on.feed.Run, on.encoded.Run)
	}
	if site.server, err = whep.New(s.Listen, cfg); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range append(parts, site.server.Run) {
		g.Go(func() error { return part(ctx) })
	}
	s.greet(screen, site.server.Addr(), tokens, certificate, streams)
	g.Go(func() error { return fetch(ctx, public, s.ACME, log) })
	g.Go(func() error { return screen.status(ctx, site.line) })
	g.Go(func() error {
		return site.privacy.follow(ctx, func(paused bool) { log.Info("pause", "paused", paused) })
	})
	return g.Wait()
}

// start makes a feed and the encoders of what it shows. All but the card can be
// paused.
func (one stream) start(privacy *privacy, log *slog.Logger) *show {
	p := one.picture
	on := &show{stream: one}
	open := p.openMasked
	if one.name != "card" {
		open = func(context.Context) (capture.Source, error) {
			return &discreet{privacy: privacy, open: p.openMasked, changed: func() { on.encoded.RequestKeyframe("pause") }}, nil
		}
	}
	on.feed = capture.NewFeed(capture.FeedConfig{
		Open: open,
		Card: func(size image.Point, reason func() string) capture.Source {
			return p.card(size, func() string { return "No picture of the desktop: " + reason() + "." })
		},
		FPS: float64(p.FPS), Linger: linger, Log: log,
	})
	on.encoded = encode.NewStream(encode.StreamConfig{
		Watch:  func() encode.Tap { return on.feed.Watch() },
		Size:   func() image.Point { return on.feed.Status().Info.Size },
		Codecs: p.Codecs, FPS: p.FPS, Bitrate: int(p.Bitrate), MaxSize: image.Point(p.MaxSize), MaxEncoders: p.MaxEncoders,
		Linger: linger, Log: log,
	})
	return on
}

// logger logs to out as the flags ask.
func (s *settings) logger(out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // the flag's enum allows only what it knows
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

func (p *picture) card(size image.Point, reason func() string) capture.Source {
	return card.New(card.Options{Size: size, FPS: float64(p.FPS), Reason: reason})
}

func (p *picture) openCard(context.Context) (capture.Source, error) {
	return p.card(image.Point{}, func() string { return "This is the test card." }), nil
}
