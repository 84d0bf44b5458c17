package whep

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// Without a token it is the browser of somebody on this machine that a stranger
// would use: a page from elsewhere asks us from inside it, or makes its own name
// point to loopback (DNS rebinding). Other programs send no Origin, and their
// Host is what they were told.

// gate refuses such pages where nothing else would.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	closed := len(s.cfg.Tokens) == 0 && s.cfg.Valid == nil && s.cfg.CORSOrigin != "*"
	loopback := s.Addr().Addr().IsLoopback()
	return func(c echo.Context) error {
		r := c.Request()
		if !closed {
			return next(c)
		}
		if loopback && !isLoopback(r.Host) && r.Host != hostOf(s.cfg.CORSOrigin) {
			return fmt.Errorf("%w: without a token this server answers only to the names of this machine, such as localhost, and not to %s; set --token", ErrForbidden, clip(r.Host))
		}
		if s.cfg.CORSOrigin == "" && r.Method != http.MethodOptions && !ownPage(r) {
			origin := clip(r.Header.Get("Origin"))
			return fmt.Errorf("%w: without a token only pages of this server and this machine may use it, not those of %s; set --token, or --cors-origin %s", ErrForbidden, origin, origin)
		}
		return next(c)
	}
}

// FromHere tells whether a request was made on this machine: by a program or by
// a page of the server's own or this machine's, and not through a proxy. It is
// who may do without a token what only the owner of the screen may.
func FromHere(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback() && isLoopback(r.Host) && ownPage(r) &&
		r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}

// ownPage tells whether a request comes from no page, or from one of the
// server's own or of this machine's.
func ownPage(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // browsers leave it out only where no page can read the answer
	}
	host := hostOf(origin)
	return host != "" && (strings.EqualFold(host, r.Host) || isLoopback(host))
}

// hostOf is the host of an origin with its port; empty for null and *.
func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return u.Host
}

// isLoopback tells whether a host, with or without a port, is a name of this
// machine that no name server is asked for (RFC 6761, 6.3). Requests without a
// host come from no browser.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
