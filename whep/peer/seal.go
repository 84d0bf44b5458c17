package peer

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"github.com/pion/rtp"
)

// Labels of the session keys (RFC 3711, 4.3.2).
const (
	labelKey  = 0
	labelSalt = 2
)

const (
	saltSize = 12 // RFC 7714, 12
	tagSize  = 16
)

// sealer encrypts RTP with AES-GCM (RFC 7714), from payloads that many players
// share. srtp.Context does the same, but wants a copy of each packet in one piece,
// parses its header, and looks its stream up: half as much work again as the
// encryption.
type sealer struct {
	gcm     cipher.AEAD
	salt    [saltSize]byte
	streams []sealed // few
	nonce   [saltSize]byte
}

// sealed is one SSRC.
type sealed struct {
	ssrc  uint32
	index int64 // the highest so far: rollover counter and sequence number (RFC 3711, 3.3.1)
}

// newSealer makes the sealer of a master key and salt of an AEAD_AES_GCM
// profile.
func newSealer(key, salt []byte) (*sealer, error) {
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	session, err := aes.NewCipher(derive(master, salt, labelKey, len(key)))
	if err != nil {
		return nil, err
	}
	s := &sealer{}
	copy(s.salt[:], derive(master, salt, labelSalt, saltSize))
	s.gcm, err = cipher.NewGCM(session)
	return s, err
}

// derive derives a session key of n bytes (RFC 3711, 4.3; RFC 7714, 11).
func derive(master cipher.Block, salt []byte, label byte, n int) []byte {
	var in [aes.BlockSize]byte
	copy(in[:], salt)
	in[7] ^= label
	var out []byte
	for block := uint16(0); len(out) < n; block++ {
		binary.BigEndian.PutUint16(in[14:], block)
		out = append(out, make([]byte, aes.BlockSize)...)
		master.Encrypt(out[len(out)-aes.BlockSize:], in[:])
	}
	return out[:n]
}

// seal appends the packet of h and payload, encrypted, to b, which has the
// capacity for all but too long a packet.
func (s *sealer) seal(b []byte, h *rtp.Header, payload []byte) ([]byte, error) {
	at := len(b)
	n, err := h.MarshalTo(b[at:cap(b)])
	if err != nil {
		return b, err
	}
	if n+len(payload)+tagSize > cap(b)-at {
		return b, fmt.Errorf("a packet of %d bytes", n+len(payload))
	}
	b = b[:at+n]
	index := s.next(h)
	s.nonce = [saltSize]byte{} // RFC 7714, 8.1
	binary.BigEndian.PutUint32(s.nonce[2:], h.SSRC)
	binary.BigEndian.PutUint32(s.nonce[6:], uint32(index>>16))
	binary.BigEndian.PutUint16(s.nonce[10:], h.SequenceNumber)
	for i := range s.nonce {
		s.nonce[i] ^= s.salt[i]
	}
	return s.gcm.Seal(b, s.nonce[:], payload, b[at:]), nil
}

// next is the index of a packet, which may be sent again or out of order.
func (s *sealer) next(h *rtp.Header) int64 {
	for i := range s.streams {
		if p := &s.streams[i]; p.ssrc == h.SSRC {
			index := p.index + int64(int16(h.SequenceNumber-uint16(p.index)))
			p.index = max(p.index, index)
			return index
		}
	}
	s.streams = append(s.streams, sealed{h.SSRC, int64(h.SequenceNumber)})
	return int64(h.SequenceNumber)
}
