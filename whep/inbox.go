package whep

import (
	"io"
	"sync"

	"github.com/pion/transport/v5/packetio"
)

// inbox is the WebRTC stack's buffer for the RTCP of one SSRC. It keeps nothing:
// take gets it at once, on the goroutine that has decrypted it, which is one
// less to wake for each of a player's many messages. What a player says of
// retransmissions, for which the stack has no reader, arrives too.
type inbox struct {
	take   func([]byte)
	closed chan struct{}
	close  sync.Once
}

// inboxes makes a session's inboxes.
func inboxes(take func([]byte)) func(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	return func(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
		return &inbox{take: take, closed: make(chan struct{})}
	}
}

func (b *inbox) Write(p []byte) (int, error) {
	b.take(p)
	return len(p), nil
}

// Read waits for the end: there is nothing to read.
func (b *inbox) Read([]byte) (int, error) {
	<-b.closed
	return 0, io.EOF
}

func (b *inbox) Close() error {
	b.close.Do(func() { close(b.closed) })
	return nil
}
