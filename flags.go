package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"deskwhep/capture/mask"
	"deskwhep/capture/x11"
	"deskwhep/encode"
	"deskwhep/whep"
)

// picture is what a stream shows, and how: flags of the desktop's stream, and
// keys of each further stream in the file.
type picture struct {
	Source      string         `group:"Picture" default:"auto" enum:"auto,x11,wayland,screen,card" help:"What to stream: auto (the X11 or Wayland display, else the portable backend, else the test card), x11, wayland, screen (portable) or card."`
	Display     string         `group:"Picture" placeholder:":0" help:"Display to capture; $DISPLAY or $WAYLAND_DISPLAY if not given."`
	Target      string         `group:"Picture" default:"desktop" placeholder:"TARGET" help:"desktop, monitor:NAME, region:X,Y,W,H or window:ID; deskwhep monitors lists the names."`
	Cursor      string         `group:"Picture" default:"embedded" enum:"embedded,hidden" help:"The mouse cursor: embedded or hidden."`
	Mask        []string       `group:"Picture" sep:";" placeholder:"X,Y,W,H" help:"Hide a rectangle of the picture, in its pixels before scaling (repeatable)."`
	FPS         int            `group:"Picture" default:"30" help:"Frames per second at most."`
	MaxSize     size           `group:"Picture" placeholder:"WxH" help:"Scale larger pictures down to fit, such as 1920x1080."`
	Codecs      []encode.Codec `group:"Picture" default:"${codecs}" help:"Codecs that players may get, the best first."`
	Bitrate     bitrate        `group:"Picture" default:"6M" help:"Bits per second at most, such as 800k or 6M."`
	MaxEncoders int            `group:"Picture" default:"2" help:"Encoders of one stream at a time, when players differ in what they can decode."`
}

// settings are the flags of everything that serves, or asks what serving would
// do.
type settings struct {
	Config string `placeholder:"FILE.yaml" help:"Read settings, each under the name of its flag, and further streams from this file. Flags and the environment go before it."`
	Listen string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of HTTP, WHEP and ICE-TCP; media uses UDP on the same port number. Port 0 picks a free one; 127.0.0.1:8080 if not given."`

	Picture picture `embed:""`

	Token         []string `group:"Access" placeholder:"TOKEN" help:"Players must send this token (repeatable)."`
	TokenFile     string   `group:"Access" placeholder:"FILE" help:"File with a token in each line."`
	Open          bool     `group:"Access" help:"Serve other machines without a token."`
	SessionAuth   string   `group:"Access" default:"capability" enum:"capability,token" help:"What PATCH and DELETE need: capability (the session's URL is secret enough) or token."`
	CORSOrigin    string   `group:"Access" name:"cors-origin" placeholder:"ORIGIN" help:"Web origin whose pages may play, or *. If not given: all who have the token; without a token, only this server's pages and those of this machine."`
	TLSCert       string   `group:"Access" name:"tls-cert" placeholder:"FILE" help:"Serve HTTPS with this certificate chain (PEM); it is read again when it changes."`
	TLSKey        string   `group:"Access" name:"tls-key" placeholder:"FILE" help:"Its private key (PEM)."`
	TLSSelf       bool     `group:"Access" name:"tls-self" help:"Serve HTTPS with a certificate of our own making, which is kept; its fingerprint is printed."`
	ACME          []string `group:"Access" name:"acme" placeholder:"HOST" help:"Serve HTTPS with a certificate for this public name, which is got from Let's Encrypt, kept and renewed (repeatable). By this you accept its terms of service. The CA must reach this server on port 443 of the name: --listen 0.0.0.0:443."`
	ACMEDirectory string   `group:"Access" name:"acme-directory" default:"${acme}" placeholder:"URL" help:"ACME server to ask instead."`
	MaxViewers    int      `group:"Access" default:"32" help:"Viewers at a time."`
	PostRate      int      `group:"Access" default:"10" help:"New sessions per second that one address may ask for; raise it behind a proxy."`

	PublicIP          []string `group:"Network" name:"public-ip" placeholder:"IP" help:"Address to advertise instead of this machine's own, behind NAT or in a container."`
	ICEServer         []string `group:"Network" name:"ice-server" placeholder:"URL" help:"STUN or TURN server that players are told of: stun:HOST, or turn:USER:PASSWORD@HOST."`
	ContactCandidates bool     `group:"Network" help:"Send ICE checks to the candidates that players name. Without it their checks come here, and nothing is sent to an address that has not proved itself."`
	LenientPatch      bool     `group:"Network" help:"Accept trickled candidates without If-Match."`
	RTCPMuxOnly       bool     `group:"Network" name:"rtcp-mux-only" default:"true" negatable:"" help:"Write a=rtcp-mux-only into answers, as WHEP asks."`

	LogFormat string `group:"Log" default:"text" enum:"text,json" help:"text or json."`
	LogLevel  string `group:"Log" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
}

// bitrate is a number of bits per second, with k or M after it.
type bitrate int

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *bitrate) UnmarshalText(text []byte) error {
	s, factor := strings.ToLower(string(text)), 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		s, factor = s[:len(s)-1], 1e3
	case strings.HasSuffix(s, "m"):
		s, factor = s[:len(s)-1], 1e6
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v*factor >= 50e3 && v*factor <= 200e6) {
		return fmt.Errorf("%q is no bitrate from 50k to 200M", text)
	}
	*b = bitrate(v * factor)
	return nil
}

// size is a picture's size in pixels; zero is any.
type size image.Point

// UnmarshalText implements encoding.TextUnmarshaler.
func (z *size) UnmarshalText(text []byte) error {
	w, h, _ := strings.Cut(strings.ToLower(string(text)), "x")
	x, err1 := strconv.Atoi(w)
	y, err2 := strconv.Atoi(h)
	if err1 != nil || err2 != nil || x < 16 || y < 16 || x > 16384 || y > 16384 {
		return fmt.Errorf("%q is no size from 16x16 to 16384x16384", text)
	}
	*z = size{x, y}
	return nil
}

// finding is something wrong with the settings: the flag that it is about, and
// what to do.
type finding struct{ flag, text string }

func (p *picture) check() (list []finding) {
	wrong := func(flag, format string, args ...any) {
		list = append(list, finding{flag, fmt.Sprintf(format, args...)})
	}
	if p.FPS < 1 || p.FPS > 240 {
		wrong("fps", "%d is not from 1 to 240", p.FPS)
	}
	if p.MaxEncoders < 1 || p.MaxEncoders > 8 {
		wrong("max-encoders", "%d is not from 1 to 8", p.MaxEncoders)
	}
	for _, c := range p.Codecs {
		if !slices.Contains(encode.Available(), c) {
			wrong("codecs", "%q is none of this program's codecs; choose from %v", c, encode.Available())
		}
	}
	if len(p.Codecs) == 0 {
		wrong("codecs", "there must be one; choose from %v", encode.Available())
	}
	for _, text := range p.Mask {
		if _, err := mask.Parse(text); err != nil {
			wrong("mask", "%v", err)
		}
	}
	target, err := x11.ParseTarget(p.Target)
	switch {
	case err != nil:
		wrong("target", "%v", err)
	case p.Target == "desktop":
	case p.Source == "card" || p.Source == "screen":
		wrong("target", "%s is not possible with source %s, which shows all it has; use source x11, or target desktop", p.Target, p.Source)
	case p.Source == "wayland" && target.Monitor == "":
		wrong("target", "%s is not possible with source wayland; use desktop or monitor:NAME", p.Target)
	}
	return list
}

var originForm = regexp.MustCompile(`^(\*|https?://[^/?#@\s]+)$`)

func (s *settings) check() (list []finding) {
	wrong := func(flag, format string, args ...any) {
		list = append(list, finding{flag, fmt.Sprintf(format, args...)})
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > 65535 {
		wrong("listen", "%q is not of the form HOST:PORT, such as 0.0.0.0:8080", s.Listen)
	}
	list = append(list, s.Picture.check()...)
	if s.MaxViewers < 1 {
		wrong("max-viewers", "%d is less than 1", s.MaxViewers)
	}
	if s.PostRate < 1 {
		wrong("post-rate", "%d is less than 1", s.PostRate)
	}
	for _, token := range s.Token {
		if err := usableToken(token); err != nil {
			wrong("token", "%v", err)
		}
	}
	if s.Open && (len(s.Token) > 0 || s.TokenFile != "") {
		wrong("open", "it asks for no token, but tokens are given; leave one of them out")
	}
	if s.SessionAuth == "token" && len(s.Token) == 0 && s.TokenFile == "" && (s.Open || isLoopback(host)) {
		wrong("session-auth", "token needs a token; give one with --token")
	}
	if s.TokenFile != "" {
		if list, err := readTokens(s.TokenFile); err != nil {
			wrong("token-file", "%v", err)
		} else if len(list) == 0 {
			wrong("token-file", "there is no token in %s; write one into it", s.TokenFile)
		}
	}
	switch {
	case s.TLSSelf && (s.TLSCert != "" || s.TLSKey != ""):
		wrong("tls-self", "there is a certificate in --tls-cert; leave one of them out")
	case s.TLSCert != "" && s.TLSKey == "":
		wrong("tls-cert", "its private key is missing; give --tls-key too")
	case s.TLSCert == "" && s.TLSKey != "":
		wrong("tls-key", "its certificate is missing; give --tls-cert too")
	case s.TLSCert != "":
		if _, err := newKeptCertificate(s.TLSCert, s.TLSKey); err != nil {
			wrong("tls-cert", "%v", err)
		}
	}
	s.checkACME(wrong)
	if s.CORSOrigin != "" && !originForm.MatchString(s.CORSOrigin) {
		wrong("cors-origin", "%q is neither * nor an origin such as https://example.org", s.CORSOrigin)
	}
	for _, ip := range s.PublicIP {
		if _, err := netip.ParseAddr(ip); err != nil {
			wrong("public-ip", "%s is no IP address", ip)
		}
	}
	if _, err := s.iceServers(); err != nil {
		wrong("ice-server", "%v", err)
	}
	return list
}

// iceServers reads --ice-server.
func (s *settings) iceServers() (list []whep.ICEServer, err error) {
	for _, text := range s.ICEServer {
		scheme, rest, _ := strings.Cut(text, ":")
		var i whep.ICEServer
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			i.Username, i.Credential, _ = strings.Cut(rest[:at], ":")
			rest = rest[at+1:]
		}
		i.URL = scheme + ":" + rest
		turn := scheme == "turn" || scheme == "turns"
		switch {
		case !turn && scheme != "stun" && scheme != "stuns", rest == "", strings.HasPrefix(rest, "/"):
			return nil, fmt.Errorf("%s is not of the form stun:HOST or turn:USER:PASSWORD@HOST", i.URL)
		case turn && (i.Username == "" || i.Credential == ""):
			return nil, fmt.Errorf("%s has no user and password; write turn:USER:PASSWORD@HOST", i.URL)
		case strings.ContainsAny(text, "\"',;<> \r\n\\"):
			return nil, fmt.Errorf("%s has a character that players cannot read", i.URL)
		}
		list = append(list, i)
	}
	return list, nil
}

// tokens collects the tokens. An address that others can reach gets a random
// one when there is none.
func (s *settings) tokens() ([]string, error) {
	list := slices.Clone(s.Token)
	if s.TokenFile != "" {
		more, err := readTokens(s.TokenFile)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if len(list) == 0 && !isLoopback(host) && !s.Open {
		list = []string{rand.Text()}
	}
	return list, nil
}

func readTokens(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	list := strings.Fields(string(b))
	for _, token := range list {
		if err := usableToken(token); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return list, nil
}

func usableToken(token string) error {
	switch {
	case token == "", strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("a token is one or more ASCII characters without spaces")
	case strings.HasPrefix(token, linkPrefix):
		return fmt.Errorf("a token must not begin with %q, as view-only links do", linkPrefix)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// query is what a URL needs for a token; empty without one.
func query(token string) string {
	if token == "" {
		return ""
	}
	return "?token=" + url.QueryEscape(token)
}

// codecNames lists the codecs of this program, the best for a screen first.
func codecNames() string {
	var names []string
	for _, c := range []encode.Codec{encode.VP9, encode.H264, encode.VP8, encode.AV1} {
		if slices.Contains(encode.Available(), c) {
			names = append(names, string(c))
		}
	}
	return strings.Join(names, ",")
}
