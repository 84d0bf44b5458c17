package whep

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
)

// randomID is a session's id: 160 random bits in lower-case letters and digits.
func randomID() string {
	var b [20]byte
	rand.Read(b[:])
	return idEncoding.EncodeToString(b[:])
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newETag names an ICE session by a strong entity-tag, with its quotes.
func newETag() string {
	var b [8]byte
	rand.Read(b[:])
	return `"` + hex.EncodeToString(b[:]) + `"`
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
