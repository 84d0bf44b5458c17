package whep

import (
	"io"
	"slices"
	"sync"

	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
)

// inboxes makes the buffers of received RTCP. What a player says of
// retransmissions goes to the first section's, because nobody reads an own one.
func (ses *session) inboxes() func(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	const size = 64 << 10 // bytes
	var mu sync.Mutex
	var first io.Writer = io.Discard
	return func(_ packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
		mu.Lock()
		defer mu.Unlock()
		ours := slices.ContainsFunc(ses.senders, func(s *webrtc.RTPSender) bool {
			return uint32(s.GetParameters().Encodings[0].SSRC) == ssrc
		})
		if !ours {
			return forwarded{first}
		}
		b := inbox{packetio.NewBuffer()}
		b.SetLimitSize(size)
		if first == io.Discard {
			first = b
		}
		return b
	}
}

// inbox is a buffer of packets.
type inbox struct{ *packetio.Buffer }

func (b inbox) Write(p []byte) (int, error) { return b.Buffer.Write(p, nil) }

func (b inbox) Read(p []byte) (int, error) {
	n, _, err := b.Buffer.Read(p, nil)
	return n, err
}

// forwarded gives all to another's buffer.
type forwarded struct{ io.Writer }

func (forwarded) Read([]byte) (int, error) { return 0, io.EOF }
func (forwarded) Close() error             { return nil }

// drain reads RTCP to its end: interceptors see it only while somebody reads.
func drain(sender *webrtc.RTPSender) error {
	buf := make([]byte, 1500)
	for {
		if _, _, err := sender.Read(buf); err != nil {
			return errGone
		}
	}
}
