package interceptors

import (
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
)

// Keyframes calls request for each PLI (RFC 4585, 6.3.1) and each FIR (RFC
// 5104, 4.3.1) for a video stream of ours. A FIR names its streams in its
// entries, not in its header, and is a new request only with a new sequence
// number. request gets "pli" or "fir" and must not block.
func Keyframes(request func(reason string)) interceptor.Factory {
	return factory(func() interceptor.Interceptor {
		return &keyframes{request: request, fir: map[uint32]int{}}
	})
}

type keyframes struct {
	interceptor.NoOp
	request func(string)

	mu  sync.Mutex
	fir map[uint32]int // our streams; the last FIR's sequence number or -1
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
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := reader.Read(b, a)
		if err == nil {
			k.look(b[:n])
		}
		return n, a, err
	})
}

// look ignores what cannot be parsed: one bad packet must not end the reading
// of RTCP.
func (k *keyframes) look(b []byte) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.PictureLossIndication:
			if k.ours(p.MediaSSRC) {
				k.request("pli")
			}
		case *rtcp.FullIntraRequest:
			for _, e := range p.FIR {
				if k.fresh(e) {
					k.request("fir")
				}
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

func (k *keyframes) fresh(e rtcp.FIREntry) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, ok := k.fir[e.SSRC]
	if !ok || last == int(e.SequenceNumber) {
		return false
	}
	k.fir[e.SSRC] = int(e.SequenceNumber)
	return true
}
