package encode

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Want is a codec that a viewer can decode.
type Want struct {
	Codec Codec
	MaxFS int // the largest picture in macroblocks of 16x16 pixels (max-fs); zero: any
}

// StreamConfig configures a stream. Watch, Size, Codecs, FPS, Bitrate and Log
// are required.
type StreamConfig struct {
	Watch func() Tap
	Size  func() image.Point // of the screen at this moment; zero if not known yet; must not block

	Codecs      []Codec     // that may be used, the best first; see Available
	FPS         int         // at most so many pictures a second
	Bitrate     int         // bit/s of each encoder
	MaxSize     image.Point // larger pictures are scaled down; zero: any
	MaxEncoders int         // watched at a time; 2 if zero
	Linger      time.Duration
	Log         *slog.Logger
}

// Errors of Stream.Join; test with errors.Is.
var (
	ErrNoCodec = errors.New("none of the viewer's codecs is served")
	ErrBusy    = errors.New("all encoders are busy with codecs that the viewer cannot decode")
)

// Stream encodes one feed for viewers who differ in what they can decode: one
// hub for each codec and size that is watched. All methods are for any
// goroutine.
type Stream struct {
	cfg  StreamConfig
	wake chan struct{} // one slot; never closed

	mu     sync.Mutex
	hubs   map[variant]*Hub    // the running ones, and those that are to start
	start  []variant           // to be started by Run
	broken map[Codec]time.Time // until when a codec is avoided
	past   map[Codec]Status    // counts of hubs that have ended
	ended  bool
}

// variant is what the viewers of a hub have in common.
type variant struct {
	codec Codec
	maxFS int // zero if the screen fits anyway
}

// A codec that has failed is avoided for so long.
const brokenFor = 30 * time.Second

// NewStream makes a stream; it works while Run runs.
func NewStream(cfg StreamConfig) *Stream {
	if cfg.MaxEncoders == 0 {
		cfg.MaxEncoders = 2
	}
	return &Stream{
		cfg:    cfg,
		wake:   make(chan struct{}, 1),
		hubs:   make(map[variant]*Hub),
		broken: make(map[Codec]time.Time),
		past:   make(map[Codec]Status),
	}
}

// Join adds a viewer that can decode any of wants, whose order is of no
// account, and tells which it gets. An encoder that runs is preferred to a new
// one; apart from that the stream's order of codecs decides. If no more encoders
// may run, one that scales down further than it must will do. The error wraps
// ErrNoCodec, ErrBusy or ErrHubEnded. It never blocks.
func (s *Stream) Join(wants []Want) (*Viewer, Codec, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, "", ErrHubEnded
	}
	v, err := s.choose(wants)
	if err != nil {
		return nil, "", err
	}
	hub := s.hubs[v]
	if hub == nil {
		hub = s.newHub(v)
		s.hubs[v] = hub
		s.start = append(s.start, v)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return hub.Join(), v.codec, nil
}

// choose picks the variant for a viewer. The caller holds mu.
func (s *Stream) choose(wants []Want) (variant, error) {
	var possible, working []variant // in the order of preference
	for _, codec := range s.cfg.Codecs {
		for _, w := range wants {
			if w.Codec != codec || !slices.Contains(Available(), codec) {
				continue
			}
			v := variant{codec, s.limit(w.MaxFS)}
			possible = append(possible, v)
			if time.Now().After(s.broken[codec]) {
				working = append(working, v)
			}
		}
	}
	if len(possible) == 0 {
		return variant{}, fmt.Errorf("%w: it has %v, the server %v", ErrNoCodec, wants, s.cfg.Codecs)
	}
	if len(working) > 0 {
		possible = working
	}
	for _, v := range possible {
		if s.hubs[v] != nil {
			return v, nil
		}
	}
	watched := 0
	for _, h := range s.hubs {
		if h.watched() {
			watched++
		}
	}
	if watched < s.cfg.MaxEncoders && len(s.hubs) < 2*s.cfg.MaxEncoders { // the others linger
		return possible[0], nil
	}
	for _, v := range possible { // a smaller picture is better than none
		for running := range s.hubs {
			if running.codec == v.codec && running.maxFS != 0 && (v.maxFS == 0 || running.maxFS <= v.maxFS) {
				return running, nil
			}
		}
	}
	return variant{}, fmt.Errorf("%w: it has %v", ErrBusy, wants)
}

// limit is maxFS if the screen does not fit into it, else 0.
func (s *Stream) limit(maxFS int) int {
	free := HubConfig{MaxSize: s.cfg.MaxSize}
	bound := HubConfig{MaxSize: s.cfg.MaxSize, MaxFS: maxFS}
	if size := s.cfg.Size(); size == (image.Point{}) || free.fit(size) == bound.fit(size) {
		return 0
	}
	return maxFS
}

func (s *Stream) newHub(v variant) *Hub {
	return NewHub(HubConfig{
		Watch: s.cfg.Watch,
		Open: func() (Encoder, Packetizer, error) {
			return NewEncoder(v.codec, s.cfg.Bitrate, s.cfg.FPS)
		},
		Size:        s.cfg.Size,
		FPS:         s.cfg.FPS,
		Bitrate:     s.cfg.Bitrate,
		MaxSize:     s.cfg.MaxSize,
		MaxFS:       v.maxFS,
		KeyInterval: KeyInterval(v.codec),
		Linger:      s.cfg.Linger,
		Log:         s.cfg.Log.With("codec", string(v.codec)),
	})
}

// Run encodes for those who watch until ctx ends. It is called once, and
// returns after all hubs have ended. An encoder or a screen that fails is no
// error of Run: its viewers get it, and the next ones a new attempt.
func (s *Stream) Run(ctx context.Context) error {
	var hubs sync.WaitGroup
	defer hubs.Wait()
	for {
		s.mu.Lock()
		for _, v := range s.start {
			hub := s.hubs[v]
			hubs.Go(func() { s.run(ctx, v, hub) })
		}
		s.start = nil
		s.ended = ctx.Err() != nil
		over := s.ended
		s.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		}
	}
}

// run runs a hub until nobody watches it any more.
func (s *Stream) run(ctx context.Context, v variant, h *Hub) {
	for {
		err := h.serve(ctx)
		s.mu.Lock()
		if err == nil && ctx.Err() == nil && h.watched() {
			s.mu.Unlock()
			continue
		}
		delete(s.hubs, v)
		s.past[v.codec] = s.past[v.codec].plus(h.Status())
		if err != nil && !errors.As(err, new(*feedError)) {
			s.broken[v.codec] = time.Now().Add(brokenFor)
		}
		s.mu.Unlock()
		if err != nil {
			s.cfg.Log.Error("encoding failed", "codec", string(v.codec), "error", err)
			h.end(err)
		} else {
			h.end(ErrHubEnded)
		}
		return
	}
}

// StreamStatus is the state of one hub of a stream.
type StreamStatus struct {
	Codec Codec
	MaxFS int // zero: the screen is not scaled for the viewers' sake
	Status
}

// Status tells the state of each hub at this moment, in the order of codecs.
func (s *Stream) Status() []StreamStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []StreamStatus
	for v, h := range s.hubs {
		all = append(all, StreamStatus{v.codec, v.maxFS, h.Status()})
	}
	slices.SortFunc(all, func(a, b StreamStatus) int {
		if a.Codec != b.Codec {
			return slices.Index(s.cfg.Codecs, a.Codec) - slices.Index(s.cfg.Codecs, b.Codec)
		}
		return a.MaxFS - b.MaxFS
	})
	return all
}

// Totals are the counts of each codec since the stream was made.
func (s *Stream) Totals() map[Codec]Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := maps.Clone(s.past)
	for v, h := range s.hubs {
		totals[v.codec] = totals[v.codec].plus(h.Status())
	}
	return totals
}

// RequestKeyframe makes every hub owe a key frame.
func (s *Stream) RequestKeyframe(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hubs {
		h.RequestKeyframe(reason)
	}
}
