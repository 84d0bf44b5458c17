package encode

// Request is a codec that a viewer can decode.
type Request struct {
	Codec          Codec
	MaxMacroblocks int // 16x16 blocks in a picture at most; 0 is no limit
}
