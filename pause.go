package main

import (
	"context"
	"image"
	"os"
	"os/signal"
	"sync"

	"deskwhep/capture"
	"deskwhep/capture/card"
)

// privacy is whether the owner has paused the streams. While it is, nothing is
// captured, and viewers see a card that says so.
type privacy struct {
	mu     sync.Mutex // guards below
	paused bool
	phase  context.Context // ends with the next change
	end    context.CancelFunc
}

func newPrivacy() *privacy {
	p := &privacy{}
	p.phase, p.end = context.WithCancel(context.Background())
	return p
}

// now tells whether the streams are paused, and gives a context that ends when
// that changes.
func (p *privacy) now() (paused bool, phase context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused, p.phase
}

// toggle pauses the streams, or goes on with them.
func (p *privacy) toggle() (paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change(!p.paused)
	return p.paused
}

// set pauses the streams or goes on with them, and reports whether that is new.
func (p *privacy) set(paused bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == paused {
		return false
	}
	p.change(paused)
	return true
}

// change begins a phase. The caller holds mu.
func (p *privacy) change(paused bool) {
	p.paused = paused
	p.end()
	p.phase, p.end = context.WithCancel(context.Background())
}

// follow toggles at each signal until ctx ends.
func (p *privacy) follow(ctx context.Context, tell func(paused bool)) error {
	if len(pauseSignals) == 0 {
		return nil
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, pauseSignals...)
	defer signal.Stop(c)
	for {
		select {
		case <-c:
			tell(p.toggle())
		case <-ctx.Done():
			return nil
		}
	}
}

// discreet is a capture.Source that shows another source, or the pause card
// while the owner wants that.
type discreet struct {
	privacy *privacy
	open    func(context.Context) (capture.Source, error)
	changed func() // called for each of the first frames after a change

	mu     sync.Mutex // guards below
	inner  capture.Source
	closed bool
	info   capture.Info // of the last inner source

	// Owned by Next.
	phase    context.Context // what inner belongs to
	switched bool            // there was another phase before
	count    int             // of frames in this phase
	size     image.Point     // of the last frame of the screen
}

// afterChange is how many frames of a new phase are told of: new viewers begin
// with a key frame that may be older than the last picture, and must be replaced.
const afterChange = 4

// Next implements capture.Source.
func (s *discreet) Next(ctx context.Context) (*capture.Frame, error) {
	if s.switched && s.count > 0 && s.count <= afterChange {
		s.changed() // the frame before has been handed on
	}
	for {
		paused, phase := s.privacy.now()
		if phase != s.phase {
			if err := s.change(ctx, paused); err != nil {
				return nil, err
			}
			s.phase, s.count, s.switched = phase, 0, s.phase != nil
		}
		frame, err := s.wait(ctx, phase)
		switch {
		case phase.Err() != nil && ctx.Err() == nil:
			if frame != nil {
				frame.Release() // of the screen that is not to be seen any more
			}
			continue
		case err != nil:
			return nil, err
		}
		if !paused {
			s.size = frame.Size
		}
		if s.count++; s.count == 1 {
			frame.Damage = capture.Everywhere()
		}
		return frame, nil
	}
}

// wait waits for a frame until ctx or the phase ends.
func (s *discreet) wait(ctx, phase context.Context) (*capture.Frame, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(phase, cancel)
	defer stop()
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	return inner.Next(ctx)
}

// change replaces the inner source.
func (s *discreet) change(ctx context.Context, paused bool) error {
	s.mu.Lock()
	if s.inner != nil {
		s.info = s.inner.Info()
		_ = s.inner.Close() // it is not needed any more, whatever it says
		s.inner = nil
	}
	s.mu.Unlock()
	var next capture.Source = card.New(card.Options{Size: s.size, FPS: 2, Reason: func() string { return "The owner has paused this stream." }})
	if !paused {
		var err error
		if next, err = s.open(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = next.Close()
		return capture.ErrClosed
	}
	s.inner = next
	return nil
}

// Refresh implements capture.Source.
func (s *discreet) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner != nil {
		s.inner.Refresh()
	}
}

// Info implements capture.Source.
func (s *discreet) Info() capture.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner != nil {
		return s.inner.Info()
	}
	return s.info
}

// Close implements capture.Source.
func (s *discreet) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.inner == nil {
		return nil
	}
	return s.inner.Close()
}
