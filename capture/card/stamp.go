package card

import (
	"errors"
	"image"
	"image/color"
	"image/draw"
	"time"
)

// Stamp is what the card carries for machines: when the picture was painted,
// and its number. It is drawn as black and white cells at the top left,
// large enough to survive lossy video.
type Stamp struct {
	Time  time.Time // to the microsecond
	Frame uint16    // +1 a frame, wraps
}

// The cells: 56 bits of microseconds since 1970, 16 of the frame number, 8 of a
// checksum, most significant first, row by row.
const (
	stampCols = 20
	stampRows = 4
	stampBits = stampCols * stampRows
)

// ErrNoStamp means that the picture carries no stamp, or a damaged one.
var ErrNoStamp = errors.New("the picture carries no readable time stamp")

// cellSize is the side of a cell in a picture of the given size, in pixels.
func cellSize(size image.Point) int {
	return max(4, min(32, size.X/44, size.Y/24)&^1)
}

// stampBounds is where the stamp lies, with its quiet zone of one cell.
func stampBounds(size image.Point) image.Rectangle {
	c := cellSize(size)
	return image.Rect(0, 0, (stampCols+2)*c, (stampRows+2)*c)
}

func (s Stamp) bits() (b [stampBits / 8]byte) {
	us := uint64(s.Time.UnixMicro())
	for i := range 7 {
		b[i] = byte(us >> (8 * (6 - i)))
	}
	b[7], b[8] = byte(s.Frame>>8), byte(s.Frame)
	b[9] = checksum(b[:9])
	return b
}

// checksum is CRC-8 with the polynomial 0x07; all ones for all zeros, so that a
// black picture is no stamp.
func checksum(p []byte) byte {
	crc := byte(0xff)
	for _, v := range p {
		crc ^= v
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x07
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func (s Stamp) paint(dst draw.Image, size image.Point) {
	draw.Draw(dst, stampBounds(size), image.NewUniform(color.Gray{Y: 128}), image.Point{}, draw.Src)
	s.Cells(size, func(r image.Rectangle, white bool) {
		ink := image.Black
		if white {
			ink = image.White
		}
		draw.Draw(dst, r, ink, image.Point{}, draw.Src)
	})
}

// Cells yields the cells of the stamp in a picture of the given size, for those
// who paint it themselves, on a ground of grey that is one cell wider.
func (s Stamp) Cells(size image.Point, yield func(r image.Rectangle, white bool)) {
	c := cellSize(size)
	bits := s.bits()
	for i := range stampBits {
		at := image.Pt((1+i%stampCols)*c, (1+i/stampCols)*c)
		yield(image.Rectangle{Min: at, Max: at.Add(image.Pt(c, c))}, bits[i/8]>>(7-i%8)&1 == 1)
	}
}

// ReadStamp reads the stamp of a decoded picture of the card's own size. luma
// gives the brightness (0 to 255) of a pixel. The error is ErrNoStamp.
func ReadStamp(size image.Point, luma func(x, y int) uint8) (Stamp, error) {
	c := cellSize(size)
	if !stampBounds(size).In(image.Rectangle{Max: size}) {
		return Stamp{}, ErrNoStamp
	}
	var b [stampBits / 8]byte
	for i := range stampBits {
		x, y := (1+i%stampCols)*c+c/2, (1+i/stampCols)*c+c/2
		sum := int(luma(x, y)) + int(luma(x-1, y)) + int(luma(x, y-1)) + int(luma(x-1, y-1))
		if sum >= 4*128 {
			b[i/8] |= 1 << (7 - i%8)
		}
	}
	if b[9] != checksum(b[:9]) {
		return Stamp{}, ErrNoStamp
	}
	var us uint64
	for _, v := range b[:7] {
		us = us<<8 | uint64(v)
	}
	return Stamp{Time: time.UnixMicro(int64(us)), Frame: uint16(b[7])<<8 | uint16(b[8])}, nil
}
