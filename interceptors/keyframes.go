package interceptors

import (
	"encoding/binary"
	"sync"

	"github.com/pion/interceptor"
)

// Keyframes calls request for each PLI (RFC 4585, 6.3.1) and each FIR (RFC
// 5104, 4.3.1) for a stream of ours. A FIR names its streams in its entries,
// not in its header, and is a new request only with a new sequence number.
// request gets the stream and "pli" or "fir" and must not block.
func Keyframes(request func(ssrc uint32, reason string)) interceptor.Factory {
	return factory(func() interceptor.Interceptor { return newKeyframes(request) })
}

// factory makes interceptors that need no construction.
type factory func() interceptor.Interceptor

// NewInterceptor implements interceptor.Factory.
func (f factory) NewInterceptor(string) (interceptor.Interceptor, error) { return f(), nil }

type keyframes struct {
	interceptor.NoOp
	request func(uint32, string)

	mu  sync.Mutex
	fir map[uint32]int // our streams; the last FIR's sequence number or -1
}

func newKeyframes(request func(uint32, string)) *keyframes {
	return &keyframes{request: request, fir: map[uint32]int{}}
}

func (k *keyframes) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fir[info.SSRC] = -1
	return w
}

func (k *keyframes) UnbindLocalStream(info *interceptor.StreamInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fir, info.SSRC)
}

func (k *keyframes) BindRTCPReader(reader interceptor.RTCPReader) interceptor.RTCPReader {
	return listen(reader, k.look)
}

func (k *keyframes) look(c control) {
	if c.kind != typePayloadFeedback {
		return
	}
	media, rest, ok := c.feedback()
	switch {
	case !ok:
	case c.format == formatPLI && k.ours(media):
		k.request(media, "pli")
	case c.format == formatFIR:
		for ; len(rest) >= 8; rest = rest[8:] {
			if ssrc := binary.BigEndian.Uint32(rest); k.fresh(ssrc, rest[4]) {
				k.request(ssrc, "fir")
			}
		}
	}
}

func (k *keyframes) ours(ssrc uint32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.fir[ssrc]
	return ok
}

func (k *keyframes) fresh(ssrc uint32, number uint8) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, ok := k.fir[ssrc]
	if !ok || last == int(number) {
		return false
	}
	k.fir[ssrc] = int(number)
	return true
}
