package encode

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"maps"
	"sync"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// Tap is one receiver's place at a feed of frames. Its first update comes as
// soon as there is a picture, and is damaged everywhere.
type Tap interface {
	// Next waits for a frame that is newer than the last one; the receiver
	// releases it.
	Next(ctx context.Context) (capture.Update, error)
	Close()
}

// HubConfig configures a hub. Watch, Open, FPS and Log are required.
type HubConfig struct {
	Watch func() Tap                          // called when encoding begins; closed when it ends
	Open  func() (Encoder, Packetizer, error) // called when encoding begins and after failures

	FPS     int         // at most so many pictures a second
	Bitrate int         // bit/s, which what leaves is held to; zero: not held
	MaxSize image.Point // larger pictures are scaled down; zero: any
	MaxFS   int         // the same in macroblocks of 16x16 pixels; zero: any
	// Size tells the screen's size if it is known before the first frame, else
	// zero; may be nil. Encoding begins sooner with it.
	Size func() image.Point

	KeyInterval time.Duration // at most one key frame in this time; 500 ms if zero
	Linger      time.Duration // the encoder is kept so long without viewers; 3 s if zero
	Log         *slog.Logger
}

// fit is the size in which a screen of the given size is encoded.
func (c *HubConfig) fit(screen image.Point) image.Point {
	return yuv.Fit(screen, c.MaxSize, c.MaxFS)
}

// ErrHubEnded is what viewers get when the hub's context has ended.
var ErrHubEnded = errors.New("the encoder has been shut down")

// Hub encodes the pictures of a feed once for all its viewers. The encoder and
// the tap exist only while somebody watches, and for a linger after. All
// methods are for any goroutine.
type Hub struct {
	cfg   HubConfig
	wake  chan struct{} // one slot; never closed
	ended chan struct{} // closed after err is set
	err   error         // why the hub has ended, for viewers

	mu      sync.Mutex // guards all below, and the viewers' state
	viewers map[*Viewer]struct{}
	gate    keyGate
	bitrate int     // bit/s wanted
	backlog []*Unit // from the last key frame on, if that is a good beginning; else empty
	behind  int     // bytes in the backlog behind the key frame
	status  Status
}

// A new viewer begins with the last key frame and what followed, if that is no
// more than so many units and so many times the bytes of the key frame: about
// what a new one and its refinement would cost everybody.
const (
	backlogUnits = 24
	backlogSize  = 3
)

// Status is what a hub is doing and has done.
type Status struct {
	Running  bool // an encoder is open
	Viewers  int
	Units    uint64 // pictures that left the encoder
	Bytes    uint64 // in their payloads
	Dropped  uint64 // pictures that the encoder dropped to hold the rate
	Failures uint64 // errors of the encoder

	// Each request for a key frame is served by a key frame made for it, merged
	// with one that waits for it, or answered from the cache with one that had
	// been made already. So the sum of KeyReasons is Keys + KeysMerged +
	// KeysCached, and one more while a key frame is owed.
	KeyReasons map[string]uint64 // requests by reason
	Keys       uint64            // key frames among the units
	KeysMerged uint64
	KeysCached uint64

	Size       image.Point   // of the last unit
	EncodeTime time.Duration // of a picture, smoothed
	Interval   time.Duration // between pictures; longer than asked for while encoding takes too long
}

// plus is s with the counts of o added.
func (s Status) plus(o Status) Status {
	s.Viewers += o.Viewers
	s.Units += o.Units
	s.Bytes += o.Bytes
	s.Dropped += o.Dropped
	s.Keys += o.Keys
	s.KeysMerged += o.KeysMerged
	s.KeysCached += o.KeysCached
	s.Failures += o.Failures
	reasons := maps.Clone(o.KeyReasons)
	for reason, n := range s.KeyReasons {
		reasons[reason] += n
	}
	s.KeyReasons = reasons
	return s
}

// NewHub makes a hub; it works while Run runs.
func NewHub(cfg HubConfig) *Hub {
	if cfg.KeyInterval == 0 {
		cfg.KeyInterval = 500 * time.Millisecond
	}
	if cfg.Linger == 0 {
		cfg.Linger = 3 * time.Second
	}
	return &Hub{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		viewers: make(map[*Viewer]struct{}),
		gate:    keyGate{interval: cfg.KeyInterval, budget: budget{rate: cfg.Bitrate}},
		bitrate: cfg.Bitrate,
		status:  Status{KeyReasons: make(map[string]uint64)},
	}
}

// Join adds a viewer. Its first unit is a key frame: one that is not long ago,
// with what followed, or a new one that it is owed. It never blocks. A viewer of
// a hub that has ended gets the hub's error from Next.
func (h *Hub) Join() *Viewer {
	v := &Viewer{hub: h, queue: make(chan *Unit, viewerQueue), left: make(chan struct{}), layers: TopLayer}
	h.mu.Lock()
	h.viewers[v] = struct{}{}
	for _, u := range h.backlog {
		v.offer(u)
	}
	if v.keyed {
		h.cached("join")
	} else {
		h.owe("join", time.Now())
	}
	h.mu.Unlock()
	h.poke()
	return v
}

func (h *Hub) remove(v *Viewer) {
	h.mu.Lock()
	delete(h.viewers, v)
	h.mu.Unlock()
	h.poke()
}

// RequestKeyframe makes the hub owe a key frame to its viewers. It never
// blocks; requests that come before the key frame leaves are served by it.
// reason is a word for the count in Status.
func (h *Hub) RequestKeyframe(reason string) {
	h.mu.Lock()
	h.owe(reason, time.Now())
	h.mu.Unlock()
	h.poke()
}

// SetBitrate changes the bitrate, in bit/s, from the next picture on.
func (h *Hub) SetBitrate(bitsPerSecond int) {
	h.mu.Lock()
	h.bitrate = max(bitsPerSecond, 1)
	h.gate.budget.rate = h.bitrate
	h.mu.Unlock()
}

// owe is RequestKeyframe at a given time or later. The caller holds mu.
func (h *Hub) owe(reason string, at time.Time) {
	h.status.KeyReasons[reason]++
	if h.gate.owe(at) {
		h.status.KeysMerged++
	}
}

// cached counts a request that a key frame has answered which had been made
// already. The caller holds mu.
func (h *Hub) cached(reason string) {
	h.status.KeyReasons[reason]++
	h.status.KeysCached++
}

// poke makes the session look again at what is owed and who watches.
func (h *Hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Status tells the hub's state at this moment.
func (h *Hub) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.status
	s.Viewers = len(h.viewers)
	s.KeyReasons = maps.Clone(s.KeyReasons)
	return s
}

// Run encodes while somebody watches, until ctx ends, which is no error, or
// encoding fails for good. It is called once.
func (h *Hub) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			h.end(ErrHubEnded)
			return nil
		case <-h.wake:
		}
		if h.watched() {
			if err := h.serve(ctx); err != nil {
				h.end(err)
				return err
			}
		}
	}
}

// end gives err to all viewers. It is called once.
func (h *Hub) end(err error) {
	h.err = err
	close(h.ended)
}

func (h *Hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers) > 0
}

// serve runs one session: an encoder and a tap.
func (h *Hub) serve(ctx context.Context) error {
	enc, packetizer, err := h.cfg.Open()
	if err != nil {
		return fmt.Errorf("open the encoder: %w", err)
	}
	frames := startPump(ctx, h.cfg.Watch())
	frames.ask()
	if p, ok := enc.(Preparer); ok && h.cfg.Size != nil { // while the first frame is read
		if size := h.cfg.Size(); size != (image.Point{}) {
			p.Prepare(h.cfg.fit(size))
		}
	}
	s := newSession(h, enc, packetizer, frames)
	h.count(func(st *Status) { st.Running = true })
	h.cfg.Log.Debug("encoding begins")
	err = s.run(ctx)
	frames.stop()
	if s.enc != nil {
		if closing := s.enc.Close(); closing != nil && err == nil {
			err = fmt.Errorf("close the encoder: %w", closing)
		}
	}
	h.mu.Lock()
	h.status.Running = false
	h.backlog = nil
	h.mu.Unlock()
	h.cfg.Log.Debug("encoding ends")
	return err
}

func (h *Hub) count(change func(*Status)) {
	h.mu.Lock()
	change(&h.status)
	h.mu.Unlock()
}

func (h *Hub) wantedBitrate() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bitrate
}

// layered tells whether some viewer goes without the top layer.
func (h *Hub) layered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range h.viewers {
		if v.layers < TopLayer {
			return true
		}
	}
	return false
}

// keyDue tells when a key frame is to be made, if one is owed.
func (h *Hub) keyDue() (at time.Time, owed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gate.when()
}

// publish gives u to every viewer that can use it.
func (h *Hub) publish(u *Unit, now time.Time, l *load) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Units++
	u.Seq = h.status.Units
	h.status.Bytes += uint64(u.Bytes)
	h.status.Size, h.status.EncodeTime, h.status.Interval = u.Size, l.average, l.interval
	if u.Key {
		h.status.Keys++
		if !h.gate.paid(u.Bytes, now) {
			h.status.KeyReasons["encoder"]++
		}
	}
	h.remember(u)
	for v := range h.viewers {
		v.offer(u)
	}
	var woken Waker
	for v := range h.viewers {
		if v.waker != nil && v.waker != woken {
			woken = v.waker
			woken.Wake()
		}
	}
}

// remember keeps the backlog. The caller holds mu.
func (h *Hub) remember(u *Unit) {
	switch {
	case u.Key:
		h.backlog, h.behind = append(h.backlog[:0:0], u), 0
	case len(h.backlog) == 0:
	case len(h.backlog) == backlogUnits || h.behind+u.Bytes > backlogSize*h.backlog[0].Bytes:
		h.backlog = nil
	default:
		h.backlog = append(h.backlog, u)
		h.behind += u.Bytes
	}
}
