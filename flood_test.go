package main

import (
	"image"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"deskwhep/whep"
)

// mutate changes an offer in one to three places, as a broken or hostile player
// might.
func mutate(r *rand.Rand, offer string) string {
	lines := strings.SplitAfter(offer, "\n")
	for range 1 + r.IntN(3) {
		i, j := r.IntN(len(lines)), r.IntN(len(lines))
		switch r.IntN(8) {
		case 0:
			lines[i] = ""
		case 1:
			lines[i] += lines[j]
		case 2:
			lines[i], lines[j] = lines[j], lines[i]
		case 3:
			lines[i] = strings.Repeat(lines[i], 1+r.IntN(200))
		case 4:
			lines = lines[:i+1]
		case 5:
			b := []byte(lines[i])
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.IntN(256))
			}
			lines[i] = string(b)
		case 6:
			lines[i] = strings.ReplaceAll(lines[i], "9", "99999999999999999999")
		case 7:
			if k, _, ok := strings.Cut(lines[i], ":"); ok {
				lines[i] = k + ":" + strings.Repeat("A", r.IntN(5000)) + "\r\n"
			}
		}
	}
	return strings.Join(lines, "")
}

// TestMutatedOffers posts 10,000 broken offers while a viewer plays: they are
// the clients' mistakes, the viewer misses no frame, and nothing is left.
func TestMutatedOffers(t *testing.T) {
	files, err := filepath.Glob("conformance/offers/*.sdp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded offers: %v", err)
	}
	var offers []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		offers = append(offers, string(b))
	}
	in := startInside(t, image.Pt(320, 240), func(c *whep.Config) { c.PostRate = 1e6 })
	p := startPlayer(t, in.url, nil)
	p.frame(t)
	watching := make(chan tally, 1)
	go func() { // until the viewer leaves
		var y tally
		var before *rtp.Packet
		for packet := range p.packets {
			y.add(t, packet, before)
			before = packet
		}
		watching <- y
	}()
	r := rand.New(rand.NewPCG(1, 2))
	statuses := map[int]int{}
	attack := func(n int) {
		for range n {
			body := mutate(r, offers[r.IntN(len(offers))])
			resp, err := http.Post(in.url, "application/sdp", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			statuses[resp.StatusCode]++
			if resp.StatusCode >= 500 {
				t.Fatalf("%s for\n%s", resp.Status, body)
			}
			if l := resp.Header.Get("Location"); l != "" {
				request(t, http.MethodDelete, "http://"+in.Addr().String()+l, "", "", "", http.StatusOK)
			}
		}
		eventually(t, "all sessions but the viewer's have ended", func() bool { return in.Viewers() == 1 })
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		runtime.GC()
	}
	attack(500) // what grows once may grow
	goroutines, descriptors, heap := runtime.NumGoroutine(), openFiles(t), heapBytes()
	attack(10_000)
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	eventually(t, "no more open files than before", func() bool { return openFiles(t) <= descriptors+5 })
	if grown := int64(heapBytes()) - int64(heap); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if err := p.pc.GracefulClose(); err != nil {
		t.Fatal(err)
	}
	got := <-watching
	if got.lost > 0 || got.skipped > 0 || got.frames < 50 {
		t.Errorf("the viewer got %+v", got)
	}
	t.Logf("statuses: %v; the viewer got %+v", statuses, got)
}

// tally is what a viewer of VP8 saw: gaps in the sequence numbers, and in the
// picture ids, which also tell of frames that the server left out for it.
type tally struct{ packets, frames, lost, skipped int }

func (y *tally) add(t *testing.T, packet, before *rtp.Packet) {
	var now, last codecs.VP8Packet
	if _, err := now.Unmarshal(packet.Payload); err != nil {
		t.Errorf("no VP8: %v", err)
	}
	y.packets++
	if now.S == 1 && now.PID == 0 {
		y.frames++
	}
	if before == nil {
		return
	}
	if packet.SequenceNumber-before.SequenceNumber != 1 {
		y.lost++
	}
	if _, err := last.Unmarshal(before.Payload); err != nil {
		t.Errorf("no VP8: %v", err)
	}
	if (now.PictureID-last.PictureID)&0x7fff > 1 {
		y.skipped++
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
