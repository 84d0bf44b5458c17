package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
	"github.com/godbus/dbus/v5"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/encode/yuv"
)

// doctor is the command that tries what serving with the same flags would do.
type doctor struct {
	Settings settings `embed:""`
}

// diagnosis is what the doctor has found.
type diagnosis struct {
	out    io.Writer
	failed bool
}

func (d *diagnosis) good(format string, args ...any) { d.say("ok   ", format, args...) }
func (d *diagnosis) note(format string, args ...any) { d.say("note ", format, args...) }
func (d *diagnosis) wrong(format string, args ...any) {
	d.failed = true
	d.say("WRONG", format, args...)
}
func (d *diagnosis) say(mark, format string, args ...any) {
	fmt.Fprintf(d.out, "%s  %s\n", mark, fmt.Sprintf(format, args...))
}

// Help implements kong.HelpProvider.
func (doctor) Help() string {
	return "The exit code is 0 when all that is needed works, 1 when something does not, and 2 when an argument cannot be read."
}

// Run tries everything and tells it. The error is exit(1) when something would
// not work.
func (c *doctor) Run(ctx context.Context, k *kong.Context, f *file, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d := &diagnosis{out: out}
	s := &c.Settings
	streams, err := s.resolve(k, f)
	if err != nil {
		d.wrong("%v", err)
		return exit(1)
	}
	d.good("The settings make sense.")
	d.session(ctx)
	for _, one := range streams {
		if one.name == "card" {
			continue
		}
		size := d.capture(ctx, one)
		if one.name == "desktop" {
			d.encoders(ctx, &one.picture, size)
		}
	}
	d.ports(s)
	d.access(s)
	d.clock()
	d.interfaces()
	if d.failed {
		return exit(1)
	}
	fmt.Fprintln(out, "\nEverything that deskwhep needs works here.")
	return nil
}

// session tells what kind of desktop this is.
func (d *diagnosis) session(ctx context.Context) {
	e := environment()
	switch {
	case e.isWayland:
		d.good("This is a Wayland session (%s).", e.wayland)
		d.portal(ctx)
	case e.x11 != "":
		d.good("This is an X11 session (display %s).", e.x11)
	case runtime.GOOS == "linux":
		d.note("There is no desktop session here: neither DISPLAY nor WAYLAND_DISPLAY is set.")
	}
}

// portal tells whether the desktop could be asked for its screen.
func (d *diagnosis) portal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	bus, err := dbus.ConnectSessionBus(dbus.WithContext(ctx))
	if err != nil {
		d.note("There is no session bus, so no portal: %v.", err)
		return
	}
	defer bus.Close()
	var owned bool
	if err := bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.portal.Desktop").Store(&owned); err != nil || !owned {
		d.note("xdg-desktop-portal is not running. deskwhep does not need it where the compositor has screencopy, such as sway.")
		return
	}
	d.note("xdg-desktop-portal is running. deskwhep does not use it: it captures Wayland only where the compositor has screencopy, such as sway.")
}

// capture opens a stream's source and takes pictures. It returns their size, or
// the card's if there are none.
func (d *diagnosis) capture(ctx context.Context, one stream) image.Point {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	begun := time.Now()
	src, err := one.picture.open(ctx)
	if err != nil {
		d.wrong("The stream %s cannot capture: %v. Its viewers would see the test card.", one.name, err)
		return card.DefaultSize
	}
	defer src.Close()
	const more = 20
	var size image.Point
	var first time.Duration
	dark := false
	for i := range 1 + more {
		src.Refresh()
		frame, err := src.Next(ctx)
		if err != nil {
			d.wrong("The stream %s failed at picture %d: %v.", one.name, i+1, err)
			return card.DefaultSize
		}
		if i == 0 {
			first = time.Since(begun)
			size, dark = frame.Size, black(frame)
			begun = time.Now()
		}
		frame.Release()
	}
	each := time.Since(begun) / more
	info := src.Info()
	d.good("The stream %s captures %s with the %s backend: %dx%d pixels, the first picture after %v, then %v each.",
		one.name, info.Target, info.Backend, size.X, size.Y, round(first), round(each))
	if info.Notice != "" {
		d.note("The stream %s: %s.", one.name, info.Notice)
	}
	if !info.DamageEvents {
		d.note("The system does not report what changes, so pictures are compared, which costs more.")
	}
	if dark {
		d.note("The picture is all black. The screen may be locked or asleep, or the desktop does not let itself be captured.")
	}
	return size
}

// black tells whether a picture has nothing on it.
func black(f *capture.Frame) bool {
	for y := range f.Size.Y {
		row := f.Pix[y*f.Stride:][:4*f.Size.X]
		for x := 0; x < len(row); x += 4 {
			if row[x]|row[x+1]|row[x+2] != 0 {
				return false
			}
		}
	}
	return true
}

// encoders encodes a picture of the screen's size with each codec.
func (d *diagnosis) encoders(ctx context.Context, p *picture, screen image.Point) {
	size := yuv.Fit(screen, image.Point(p.MaxSize), 0)
	source := card.New(card.Options{Size: size, Reason: func() string { return "The doctor looks at it." }})
	defer source.Close()
	frame, err := source.Next(ctx)
	if err != nil {
		d.wrong("There was no time to try the encoders: %v.", err)
		return
	}
	defer frame.Release()
	var converted yuv.Picture
	converted.Reset(size)
	everything := capture.Everywhere()
	yuv.Convert(&converted, frame, &everything)
	works := 0
	interval := time.Second / time.Duration(p.FPS)
	for _, codec := range p.Codecs {
		took, err := encodeTime(ctx, codec, p, &converted)
		switch {
		case err != nil:
			d.note("%s does not work: %v.", codec, err)
			continue
		case took > interval:
			d.note("%s takes %v for a picture of %dx%d that changes everywhere, longer than the %v between pictures: with much motion it would slow down to %d fps. A smaller --max-size helps.",
				codec, round(took), size.X, size.Y, round(interval), max(1, int(time.Second/took)))
		default:
			d.good("%s takes %v for a picture of %dx%d that changes everywhere.", codec, round(took), size.X, size.Y)
		}
		works++
	}
	if works == 0 {
		d.wrong("None of the codecs %v works; choose others with --codecs.", p.Codecs)
	}
}

// encodeTime is how long a codec takes for a whole picture after the first.
func encodeTime(ctx context.Context, codec encode.Codec, p *picture, picture *yuv.Picture) (time.Duration, error) {
	enc, _, err := encode.NewEncoder(codec, int(p.Bitrate), p.FPS)
	if err != nil {
		return 0, err
	}
	defer enc.Close()
	const rounds = 5
	var total time.Duration
	at := time.Now()
	for i := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		everything := capture.Everywhere()
		begun := time.Now()
		if _, _, err := enc.Encode(picture, &everything, false, at); err != nil {
			return 0, err
		}
		if i > 0 { // the first is a key frame, and opens the encoder
			total += time.Since(begun)
		}
		at = at.Add(time.Second / time.Duration(p.FPS))
		slices.Reverse(picture.Y) // so that everything has changed
	}
	return total / rounds, nil
}

// ports binds what serving would bind, and sends itself something on each
// address.
func (d *diagnosis) ports(s *settings) {
	tcp, err := net.Listen("tcp", s.Listen)
	if err != nil {
		d.wrong("TCP %s cannot be opened: %v. If deskwhep runs already, that is why; otherwise choose another --listen.", s.Listen, plain(err))
		return
	}
	defer tcp.Close()
	port := tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	listening := tcp.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	udp, err := net.ListenPacket("udp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		d.wrong("UDP port %d cannot be opened: %v. Media would have no way out.", port, plain(err))
		return
	}
	defer udp.Close()
	addresses := append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, localAddresses()...)
	for _, a := range addresses {
		at := netip.AddrPortFrom(a, port)
		if err := echoUDP(udp, at); err != nil {
			d.wrong("UDP does not get through to %s: %v. A firewall may block it.", at, plain(err))
			continue
		}
		if !listening.IsUnspecified() && listening != a {
			d.good("UDP gets through to %s; HTTP listens on %s only.", at, listening)
			continue
		}
		if err := echoTCP(tcp, at); err != nil {
			d.wrong("TCP does not get through to %s: %v. A firewall may block it.", at, plain(err))
			continue
		}
		d.good("UDP and TCP get through to %s.", at)
	}
	if listening.IsLoopback() {
		d.note("Only this machine can watch; --listen 0.0.0.0:%d would let others.", port)
	} else {
		d.note("This was tried from this machine. Others need UDP and TCP port %d open in the firewall, and through NAT --public-ip.", port)
	}
}

const trial = 2 * time.Second // for a packet to ourselves

func echoUDP(socket net.PacketConn, to netip.AddrPort) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer c.Close()
	word := []byte("deskwhep doctor " + to.String())
	if _, err := c.Write(word); err != nil {
		return err
	}
	if err := socket.SetReadDeadline(time.Now().Add(trial)); err != nil {
		return err
	}
	for buf := make([]byte, 1500); ; {
		n, _, err := socket.ReadFrom(buf)
		if err != nil {
			return err
		}
		if bytes.Equal(buf[:n], word) {
			return nil
		}
	}
}

func echoTCP(listener net.Listener, to netip.AddrPort) error {
	c, err := net.DialTimeout("tcp", to.String(), trial)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(trial)); err != nil {
		return err
	}
	for {
		got, err := listener.Accept()
		if err != nil {
			return err
		}
		got.Close()
		if got.RemoteAddr().String() == c.LocalAddr().String() {
			return nil
		}
	}
}

// access tells who may watch.
func (d *diagnosis) access(s *settings) {
	host, port, _ := net.SplitHostPort(s.Listen) // has been checked
	given := len(s.Token) > 0 || s.TokenFile != ""
	switch {
	case given:
		d.good("Viewers need a token.")
	case s.Open && !isLoopback(host):
		d.note("Everybody who reaches %s can watch, because of --open.", s.Listen)
	case isLoopback(host):
		d.note("Every program and user of this machine can watch; --token would keep them out.")
	default:
		d.good("Viewers need the token that deskwhep makes at each start; --token would keep it.")
	}
	if s.CORSOrigin == "*" && !given && (s.Open || isLoopback(host)) {
		d.note("Any web page in a browser that reaches this address can play the stream, because of --cors-origin * and no token.")
	}
	if len(s.ACME) > 0 && port != "443" {
		d.note("The CA comes to port 443 of %v; have that forwarded to port %s, or listen there.", s.ACME, port)
	}
	if !isLoopback(host) && !s.https() {
		d.note("The pages and the token go over the network unencrypted (the media does not); --tls-self, --acme or a proxy with HTTPS helps.")
	}
}

// interfaces looks at the largest packets that the network takes.
func (d *diagnosis) interfaces() {
	list, err := net.Interfaces()
	if err != nil {
		d.note("The network interfaces cannot be listed: %v.", err)
		return
	}
	const need = 1200 + 28 + 20 // our largest packet, in UDP over IPv6
	small := false
	for _, i := range list {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0 && i.MTU < need {
			small = true
			d.wrong("The interface %s takes packets of %d bytes; media needs %d. Raise its MTU.", i.Name, i.MTU, need)
		}
	}
	if !small {
		d.good("Every network interface takes packets that are large enough.")
	}
}

// plain is an error without the parts that the sentence around it tells.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}

func round(d time.Duration) time.Duration {
	return d.Round(100 * time.Microsecond)
}
