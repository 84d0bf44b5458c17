package capture

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"sync"
	"time"
)

// FeedConfig says what a feed shows.
type FeedConfig struct {
	// Open opens the source. It is called again, with a growing pause, as long
	// as it fails and after a source has failed.
	Open func(ctx context.Context) (Source, error)

	// Card makes the source that is shown while there is no other, in the size
	// of the last picture (zero if there was none). reason is asked at each
	// frame.
	Card func(size image.Point, reason func() string) Source

	FPS    float64       // frames per second at most; a frame may follow another after 0.8 of the interval
	Linger time.Duration // how long the source outlives its last watcher
	Log    *slog.Logger
}

// Patience with a source that does not open or is gone.
const (
	patience   = time.Second // before the card is shown for a source that is still opening
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Feed owns a source and gives its frames to all taps, paced. The source runs
// only while somebody watches.
type Feed struct {
	cfg  FeedConfig
	wake chan struct{} // capacity 1, never closed: the first tap came

	mu     sync.Mutex
	taps   map[*Tap]struct{}
	idle   *time.Timer // ends the run when the linger is over; nil while somebody watches
	cancel context.CancelFunc
	source Source // what is shown; nil between sources
	status FeedStatus
}

// FeedStatus tells what a feed does at the moment.
type FeedStatus struct {
	Info    Info
	Watched bool
	Trouble string // why the card is shown; empty while the desktop is
	Frames  uint64 // handed out so far, those of the card included
}

// NewFeed makes a feed. It does nothing until Run.
func NewFeed(cfg FeedConfig) *Feed {
	return &Feed{
		cfg:  cfg,
		wake: make(chan struct{}, 1),
		taps: map[*Tap]struct{}{},
	}
}

// Watch adds a tap. Its first update is the whole picture, at once, also when
// the screen does not change.
func (f *Feed) Watch() *Tap {
	t := &Tap{feed: f, slot: make(chan Update, 1), fresh: true}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taps[t] = struct{}{}
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	if f.source != nil {
		f.source.Refresh()
	}
	signal(f.wake)
	return t
}

func (f *Feed) leave(t *Tap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.taps, t)
	if u, ok := t.take(); ok {
		u.Frame.Release()
	}
	if len(f.taps) == 0 && f.cancel != nil && f.idle == nil {
		f.idle = time.AfterFunc(f.cfg.Linger, f.rest)
	}
}

// rest ends the source after the linger.
func (f *Feed) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.taps) == 0 && f.cancel != nil {
		f.cancel()
	}
}

// Status tells what the feed does at the moment.
func (f *Feed) Status() FeedStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Watched = len(f.taps) > 0
	if f.source != nil {
		s.Info = f.source.Info()
	}
	return s
}

// Run captures while somebody watches, until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		if watching, ok := f.begin(ctx); ok {
			f.watched(watching)
			f.end()
		}
	}
}

func (f *Feed) begin(ctx context.Context) (context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.taps) == 0 {
		return nil, false
	}
	ctx, f.cancel = context.WithCancel(ctx)
	return ctx, true
}

func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel()
	f.cancel = nil
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	if len(f.taps) > 0 { // came while the source was ending
		signal(f.wake)
	}
}

// watched shows the source, and the card when there is none, until ctx ends.
func (f *Feed) watched(ctx context.Context) {
	var size image.Point
	for ctx.Err() == nil {
		src, frame := f.acquire(ctx, size)
		if src == nil {
			return
		}
		size = frame.Size
		err := f.show(ctx, src, frame)
		f.close(src)
		if ctx.Err() == nil {
			f.trouble(err)
		}
	}
}

// acquire opens the source and takes its first frame; if that takes long it
// shows the card meanwhile. It returns nil when ctx ends.
func (f *Feed) acquire(ctx context.Context, size image.Point) (src Source, first *Frame) {
	found := make(chan struct{})
	failed := make(chan struct{}, 1)
	go func() {
		defer close(found)
		src, first = f.open(ctx, failed)
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-found:
		return src, first
	case <-failed:
	case <-late.C:
		f.trouble(errors.New("the display does not answer"))
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { <-found; cancel() }()
	card := f.cfg.Card(size, f.reason)
	_ = f.show(waiting, card, nil)
	f.close(card)
	<-found
	return src, first
}

// open opens the source and takes its first frame, again and again until that
// succeeds. Each failure is signalled.
func (f *Feed) open(ctx context.Context, failed chan struct{}) (Source, *Frame) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		src, first, err := f.try(ctx)
		switch {
		case err == nil:
			f.trouble(nil)
			return src, first
		case ctx.Err() != nil:
			return nil, nil
		}
		f.trouble(err)
		signal(failed)
		if !sleep(ctx, pause) {
			return nil, nil
		}
	}
}

func (f *Feed) try(ctx context.Context) (Source, *Frame, error) {
	src, err := f.cfg.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	first, err := src.Next(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, src.Close())
	}
	return src, first, nil
}

// trouble notes why there is no picture of the screen, and logs changes.
func (f *Feed) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	f.mu.Lock()
	before := f.status.Trouble
	f.status.Trouble = text
	f.mu.Unlock()
	switch {
	case text == before:
	case text == "":
		f.cfg.Log.Info("the screen is back")
	default:
		f.cfg.Log.Warn("no picture of the screen; viewers see the test card", "reason", text)
	}
}

func (f *Feed) reason() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status.Trouble
}

// show gives the source's frames to the taps, beginning with frame if there is
// one, until the source fails or ctx ends.
func (f *Feed) show(ctx context.Context, src Source, frame *Frame) (err error) {
	f.mu.Lock()
	f.source = src
	f.mu.Unlock()
	pace := pacer{every: time.Duration(float64(time.Second) / f.cfg.FPS)}
	paced, _ := src.(Paced)
	var due time.Time
	for first := true; ; first = false {
		begun := time.Now()
		if frame == nil {
			if frame, err = src.Next(ctx); err != nil {
				return err
			}
			for _, waited := range [...]time.Time{due, frame.Painted} {
				if waited.After(begun) {
					begun = waited
				}
			}
		}
		pace.captured(begun)
		if first {
			frame.Damage = Everywhere() // whatever was shown before, it was another source
		}
		f.publish(frame)
		frame = nil
		if due = pace.due(); paced != nil {
			paced.Pace(due)
		} else if !sleep(ctx, time.Until(due)) {
			return ctx.Err()
		}
	}
}

func (f *Feed) publish(frame *Frame) {
	f.mu.Lock()
	f.status.Frames++
	for t := range f.taps {
		t.put(frame)
	}
	f.mu.Unlock()
	frame.Release()
}

func (f *Feed) close(src Source) {
	f.mu.Lock()
	f.status.Info = src.Info()
	f.source = nil
	f.mu.Unlock()
	if err := src.Close(); err != nil {
		f.cfg.Log.Warn("closing the source failed", "reason", err)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
