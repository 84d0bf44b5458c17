package peer

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// What the sealer writes is bit for bit what pion's SRTP does, over the wraps of
// the sequence numbers and for packets that are sent again.
func TestSealerIsSRTP(t *testing.T) {
	for _, profile := range []srtp.ProtectionProfile{srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm} {
		t.Run(profile.String(), func(t *testing.T) {
			keySize, _ := profile.KeyLen()
			random := rand.NewChaCha8([32]byte{1})
			key, salt, payload := make([]byte, keySize), make([]byte, saltSize), make([]byte, 1200)
			for _, b := range [][]byte{key, salt, payload} {
				_, _ = random.Read(b)
			}
			theirs, err := srtp.CreateContext(key, salt, profile)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := newSealer(key, salt)
			if err != nil {
				t.Fatal(err)
			}
			headers := map[uint32]*rtp.Header{}
			for _, ssrc := range []uint32{1, 0xfedcba98} {
				h := &rtp.Header{Version: 2, PayloadType: 96, SSRC: ssrc, SequenceNumber: uint16(40000 * ssrc), Marker: ssrc == 1}
				for id := range uint8(ssrc % 4) {
					if err := h.SetExtension(id+1, []byte{id, 2, 3}); err != nil {
						t.Fatal(err)
					}
				}
				headers[ssrc] = h
			}
			before := []byte("before")
			check := func(h *rtp.Header, payload []byte) {
				t.Helper()
				plain, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
				if err != nil {
					t.Fatal(err)
				}
				want, err := theirs.EncryptRTP(nil, plain, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := ours.seal(append(make([]byte, 0, packetSize), before...), h, payload)
				if err != nil || !bytes.Equal(got[:len(before)], before) || !bytes.Equal(got[len(before):], want) {
					t.Fatalf("number %d of %d, %v:\n% x\n% x", h.SequenceNumber, h.SSRC, err, got[len(before):], want)
				}
			}
			for i := range 20000 { // twelve wraps
				for _, h := range headers {
					check(h, payload[:i%40])
					if i%100 == 99 { // as one is sent again, also from before a wrap
						again := *h
						again.SequenceNumber -= 3000
						check(&again, payload[:i%30])
					}
					h.SequenceNumber += uint16(i%80) + 1
					h.Timestamp += uint32(i)
				}
			}
			check(headers[1], payload)
			check(headers[1], nil)
			if _, err := ours.seal(make([]byte, 0, len(payload)), headers[1], payload); err == nil {
				t.Error("a packet that is too long was encrypted")
			}
		})
	}
}

// RFC 3711, B.3, with its salt of 14 bytes.
func TestDerivedKeys(t *testing.T) {
	bytesOf := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	master, err := aes.NewCipher(bytesOf("E1F97A0D3E018BE0D64FA32C06DE4139"))
	if err != nil {
		t.Fatal(err)
	}
	salt := bytesOf("0EC675AD498AFEEBB6960B3AABE6")
	for label, want := range map[byte]string{labelKey: "C61E7A93744F39EE10734AFE3FF7A087", labelSalt: "30CBBC08863D8C85D49DB34A9AE1"} {
		if got := derive(master, salt, label, len(want)/2); !bytes.Equal(got, bytesOf(want)) {
			t.Errorf("label %d: % X, want %s", label, got, want)
		}
	}
}
