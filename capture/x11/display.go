package x11

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"deskwhep/capture"
)

// address is a parsed display name, [host]:display[.screen].
type address struct {
	host    string // empty: a local socket
	display int
	screen  int
}

func parseDisplay(name string) (a address, err error) {
	bad := fmt.Errorf("display %q: want [host]:number, such as :0: %w", name, capture.ErrNoDisplay)
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 {
		return a, bad
	}
	a.host = strings.Trim(name[:colon], "[]")
	if i := strings.LastIndexByte(a.host, '/'); i >= 0 { // tcp/host, unix/
		a.host = a.host[i+1:]
	}
	if a.host == "unix" {
		a.host = ""
	}
	number, screen, dotted := strings.Cut(name[colon+1:], ".")
	if a.display, err = strconv.Atoi(number); err != nil || a.display < 0 || a.display > 65535-6000 {
		return a, bad
	}
	if dotted {
		if a.screen, err = strconv.Atoi(screen); err != nil || a.screen < 0 {
			return a, bad
		}
	}
	return a, nil
}

// dial connects to the display: a local one by its abstract socket, if the
// system has such, or by its path; a remote one by TCP.
func (a address) dial(ctx context.Context) (c net.Conn, err error) {
	var d net.Dialer
	if a.host != "" {
		return d.DialContext(ctx, "tcp", net.JoinHostPort(a.host, strconv.Itoa(6000+a.display)))
	}
	path := "/tmp/.X11-unix/X" + strconv.Itoa(a.display)
	if runtime.GOOS == "linux" {
		if c, err = d.DialContext(ctx, "unix", "@"+path); err == nil {
			return c, nil
		}
	}
	return d.DialContext(ctx, "unix", path)
}

// Families of addresses in an Xauthority file, Xau(3).
const (
	familyInternet  = 0
	familyInternet6 = 6
	familyLocal     = 256
	familyWild      = 65535
)

const cookieName = "MIT-MAGIC-COOKIE-1"

// cookie finds the display's MIT-MAGIC-COOKIE-1 in an Xauthority file. Without
// a file, or without an entry, there is none and no error: the server may let
// us in without.
func (a address) cookie(file string, peer net.Addr) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Xauthority: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read Xauthority: %w", err)
	}
	family, host := familyLocal, []byte(nil)
	if tcp, ok := peer.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		if host = tcp.IP.To4(); host != nil {
			family = familyInternet
		} else {
			family, host = familyInternet6, tcp.IP
		}
	} else if name, err := os.Hostname(); err == nil {
		host = []byte(name)
	}
	return findCookie(data, uint16(family), host, strconv.Itoa(a.display)), nil
}

// findCookie walks the entries: a family, then address, display number, name
// and data, each with its length in front, all big-endian.
func findCookie(data []byte, family uint16, host []byte, display string) []byte {
	for len(data) >= 2 {
		f := binary.BigEndian.Uint16(data)
		data = data[2:]
		var field [4][]byte
		for i := range field {
			if len(data) < 2 {
				return nil
			}
			n := 2 + int(binary.BigEndian.Uint16(data))
			if len(data) < n {
				return nil
			}
			field[i], data = data[2:n], data[n:]
		}
		switch {
		case f != familyWild && (f != family || !bytes.Equal(field[0], host)):
		case len(field[1]) > 0 && string(field[1]) != display:
		case string(field[2]) != cookieName:
		default:
			return field[3]
		}
	}
	return nil
}
