package encode

// Packetizer cuts the data of one encoded picture into RTP payloads of at most
// MaxPayload bytes. Payloads of one picture are all of the same size but the
// last, which may be smaller, so that a kernel can segment a whole picture. The
// payloads are new memory. One goroutine uses it, once for each unit in order.
type Packetizer interface {
	Packetize(data []byte, key bool) ([][]byte, error)
}

// split cuts data into the fewest parts such that a header of the given size
// and a part fit into MaxPayload, and makes the parts equal. It returns
// payloads with room for the header before each part; fill writes the header.
func split(data []byte, header int, fill func(payload []byte, first, last bool)) [][]byte {
	n := max((len(data)+MaxPayload-header-1)/(MaxPayload-header), 1)
	part := (len(data) + n - 1) / n
	memory := make([]byte, 0, n*header+len(data))
	payloads := make([][]byte, 0, n)
	for i := 0; i == 0 || len(data) > 0; i++ {
		cut := min(part, len(data))
		start := len(memory)
		memory = append(memory[:start+header], data[:cut]...)
		data = data[cut:]
		payload := memory[start:len(memory):len(memory)]
		fill(payload, i == 0, len(data) == 0)
		payloads = append(payloads, payload)
	}
	return payloads
}
