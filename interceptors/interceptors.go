// Package interceptors stands between a viewer's RTP and the wire: answers to
// NACK, sender reports, and keyframe requests. Each part is an
// interceptor.Factory that any pion program can use.
package interceptors

import (
	"fmt"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
)

// Config wires a viewer's interceptors to its owner.
type Config struct {
	// Keyframe is called for each PLI and each new FIR of the viewer, with
	// "pli" or "fir"; it must not block.
	Keyframe func(reason string)

	// RTPTime maps a moment to the RTP time of the stream with the given clock
	// rate in Hz; sender reports tell the mapping to the viewer.
	RTPTime func(at time.Time, clockRate uint32) uint32
}

// New makes the interceptors of one viewer. The first one is nearest the wire.
func New(c Config) (*interceptor.Registry, error) {
	responder, err := nack.NewResponderInterceptor()
	if err != nil {
		return nil, fmt.Errorf("nack responder: %w", err)
	}
	r := &interceptor.Registry{}
	r.Add(responder)
	r.Add(Reports(c.RTPTime))
	r.Add(Keyframes(c.Keyframe))
	return r, nil
}

// factory makes interceptors that need no construction.
type factory func() interceptor.Interceptor

// NewInterceptor implements interceptor.Factory.
func (f factory) NewInterceptor(string) (interceptor.Interceptor, error) { return f(), nil }
