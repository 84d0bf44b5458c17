package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
	"rsc.io/qr"
)

// logWriter is where logs go: a type of its own, so that a command's Run can
// ask for it beside the io.Writer of its output.
type logWriter interface{ io.Writer }

// console is what a person in front of the program sees: the greeting, the log,
// and on a terminal a line that tells what is going on, below both.
type console struct {
	out   io.Writer
	fd    int // of the terminal that out is, or -1
	logTo io.Writer
	log   io.Writer

	mu   sync.Mutex // serialises writes
	line string     // what stands there; guarded
}

func newConsole(out, log io.Writer) *console {
	c := &console{out: out, fd: terminal(out), logTo: log, log: log}
	if c.fd >= 0 && terminal(log) >= 0 {
		c.log = aboveLine{c}
	}
	return c
}

// terminal is the descriptor of a terminal; -1 for anything else.
func terminal(w io.Writer) int {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return int(f.Fd())
	}
	return -1
}

// aboveLine writes log lines above the status line.
type aboveLine struct{ c *console }

func (a aboveLine) Write(p []byte) (int, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.c.paint("")
	n, err := a.c.logTo.Write(p)
	a.c.paint(a.c.line)
	return n, err
}

// paint replaces what stands in the line. The caller holds mu.
func (c *console) paint(text string) {
	fmt.Fprintf(c.out, "\r\x1b[K%s", text)
}

// status shows a line each second until ctx ends; only on a terminal.
func (c *console) status(ctx context.Context, line func() string) error {
	if c.fd < 0 {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		text := []rune(line())
		if width, _, err := term.GetSize(c.fd); err == nil && width > 1 && len(text) >= width {
			text = text[:width-1]
		}
		c.mu.Lock()
		if string(text) != c.line {
			c.line = string(text)
			c.paint(c.line)
		}
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.mu.Lock()
			c.paint("")
			c.line = ""
			c.mu.Unlock()
			return nil
		}
	}
}

// greet tells where to watch.
func (s *settings) greet(c *console, addr netip.AddrPort, tokens []string, certificate *keptCertificate, streams []stream) {
	key := ""
	if len(tokens) > 0 {
		key = query(tokens[0])
	}
	bases := s.bases(addr)
	var b strings.Builder
	fmt.Fprintf(&b, "Player:  %s/%s\n", bases[0], key)
	for _, more := range bases[1:] {
		fmt.Fprintf(&b, "         %s/%s\n", more, key)
	}
	fmt.Fprintf(&b, "WHEP:    %s/whep%s\n", bases[0], key)
	fmt.Fprintf(&b, "Owner:   %s/owner%s\n", bases[0], key)
	if len(streams) > 2 {
		fmt.Fprintf(&b, "Streams: %s/streams.html%s\n", bases[0], key)
	}
	if s.TLSSelf {
		fmt.Fprintf(&b, "Certificate: sha-256 %s\n", certificate.fingerprint())
	}
	reachable := slices.IndexFunc(bases, func(base string) bool {
		u, err := url.Parse(base)
		return err == nil && !isLoopback(u.Hostname())
	})
	if c.fd >= 0 && reachable >= 0 {
		b.WriteString(code(bases[reachable] + "/" + key))
	}
	b.WriteString("Stop with Ctrl-C.\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprint(c.out, b.String())
}

// localAddresses are the addresses under which others may reach this machine,
// IPv4 first.
func localAddresses() (list []netip.Addr) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var six []netip.Addr
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			list = append(list, p.Addr())
		} else {
			six = append(six, p.Addr())
		}
	}
	return append(list, six...)
}

// code is a QR code of text for terminals: two modules in a character, in
// colours that scanners can tell apart whatever the terminal's are.
func code(text string) string {
	q, err := qr.Encode(text, qr.L)
	if err != nil {
		return "" // longer than a code can be
	}
	const quiet = 2 // modules around it
	var b strings.Builder
	for y := -quiet; y < q.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < q.Size+quiet; x++ {
			upper, lower := q.Black(x, y), q.Black(x, y+1)
			switch {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
