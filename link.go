package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// linkPrefix begins the token of a view-only link:
//
//	link.EXPIRY.SIGNATURE
//
// EXPIRY is in seconds since 1970, to base 36. SIGNATURE is the HMAC-SHA-256 of
// the text before it, keyed with a token of the server, in base64url. The server
// keeps nothing: changing the token ends all its links.
const linkPrefix = "link."

// makeLink is a token that is valid until the given time.
func makeLink(token string, until time.Time) string {
	text := linkPrefix + strconv.FormatInt(until.Unix(), 36)
	return text + "." + signLink(token, text)
}

func signLink(token, text string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// validLink tells whether link is signed with one of the tokens and has not
// expired.
func validLink(tokens []string, link string, now time.Time) bool {
	dot := strings.LastIndexByte(link, '.')
	if dot < len(linkPrefix) || !strings.HasPrefix(link, linkPrefix) {
		return false
	}
	text, signature := link[:dot], link[dot+1:]
	until, err := strconv.ParseInt(text[len(linkPrefix):], 36, 64)
	right := false
	for _, token := range tokens {
		if hmac.Equal([]byte(signLink(token, text)), []byte(signature)) {
			right = true
		}
	}
	return right && err == nil && now.Unix() < until
}

// linkCmd is the command that makes an expiring view-only link.
type linkCmd struct {
	For    time.Duration `default:"1h" help:"How long new viewers may come."`
	Stream string        `placeholder:"NAME" help:"Stream to play; the desktop if not given."`
	URL    string        `name:"url" placeholder:"URL" help:"Address under which viewers reach the server, such as https://desk.example.org; that of --listen if not given."`

	Config    string   `placeholder:"FILE.yaml" help:"The server's configuration file."`
	Listen    string   `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"The server's address."`
	Token     []string `placeholder:"TOKEN" help:"The server's token; the first one signs."`
	TokenFile string   `placeholder:"FILE" help:"File with the server's tokens."`
	TLSCert   string   `name:"tls-cert" hidden:""`
	TLSSelf   bool     `name:"tls-self" help:"The server uses HTTPS."`
	ACME      []string `name:"acme" placeholder:"HOST" help:"The server uses HTTPS under this public name."`
}

// Run prints the link.
func (c *linkCmd) Run(k *kong.Context, f *file, out io.Writer) error {
	s := settings{Listen: c.Listen, Token: c.Token, TokenFile: c.TokenFile, Open: true}
	for _, token := range c.Token {
		if err := usableToken(token); err != nil {
			return fmt.Errorf("--token: %w", err)
		}
	}
	if f != nil && len(f.wrong) > 0 {
		return errors.New(strings.Join(f.told(), "\n"))
	}
	tokens, err := s.tokens()
	switch {
	case err != nil:
		return err
	case len(tokens) == 0:
		return errors.New("a link is signed with the server's token; give it with --token, --token-file or --config")
	case c.For < time.Second || c.For > 10*365*24*time.Hour:
		return fmt.Errorf("--for=%v is not from a second to ten years", c.For)
	case c.Stream != "" && !streamName.MatchString(c.Stream):
		return fmt.Errorf("--stream=%s is no name of a stream", c.Stream)
	}
	base := c.URL
	if base == "" {
		_, port, _ := net.SplitHostPort(c.Listen)
		switch {
		case len(c.ACME) > 0:
			base = "https://" + httpsHost(c.ACME[0], port)
		case c.TLSSelf || c.TLSCert != "":
			base = "https://" + c.Listen
		default:
			base = "http://" + c.Listen
		}
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--url=%s is not of the form https://HOST", base)
	}
	path := "/"
	if c.Stream != "" {
		path = "/play/" + c.Stream
	}
	until := time.Now().Add(c.For)
	_, err = fmt.Fprintf(out, "%s%s%s\n", strings.TrimRight(u.String(), "/"), path, query(makeLink(tokens[0], until)))
	return err
}
