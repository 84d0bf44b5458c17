package encode

// Packetizer cuts the data of one encoded picture into RTP payloads of at most
// MaxPayload bytes. The payloads are new memory. One goroutine uses it, once
// for each unit in order, and tells it whether that is a key frame and its layer.
//
// Payloads of one picture are all of the same size but the last, which may be
// smaller, so that a kernel can segment a whole picture. One exception: H.264
// parameter sets go before the others in a small payload of their own.
type Packetizer interface {
	Packetize(data []byte, key bool, layer uint8) ([][]byte, error)
}

// split cuts data into the fewest parts that fit into MaxPayload together with
// a header of the given size, and, for the first part, extra bytes of header,
// and makes the payloads equal. fill writes the header of each. extra is smaller
// than any part.
func split(data []byte, header, extra int, fill func(payload []byte, first, last bool)) [][]byte {
	room := MaxPayload - header
	n := max((extra+len(data)+room-1)/room, 1)
	part := (extra + len(data) + n - 1) / n
	memory := make([]byte, 0, n*header+extra+len(data))
	payloads := make([][]byte, 0, n)
	for i := 0; i == 0 || len(data) > 0; i++ {
		start := len(memory)
		memory = memory[:start+header+extra]
		cut := min(part-extra, len(data))
		memory = append(memory, data[:cut]...)
		data, extra = data[cut:], 0
		payload := memory[start:len(memory):len(memory)]
		fill(payload, i == 0, len(data) == 0)
		payloads = append(payloads, payload)
	}
	return payloads
}
