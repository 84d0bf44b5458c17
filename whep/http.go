package whep

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"

	endpointMethods = "OPTIONS, GET, HEAD, POST"
	sessionMethods  = "OPTIONS, GET, HEAD, PATCH, DELETE"
)

// routes builds Echo's routes and what comes before them.
func (s *Server) routes() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = s.fail
	e.Pre(s.cors, s.gate, s.spelling)

	e.Match([]string{http.MethodGet, http.MethodHead}, "/whep", s.discover)
	e.OPTIONS("/whep", s.options)
	e.POST("/whep", s.post)
	e.Match([]string{http.MethodGet, http.MethodHead}, "/whep/:stream", s.discover)
	e.OPTIONS("/whep/:stream", s.options)
	e.POST("/whep/:stream", s.post)

	e.Match([]string{http.MethodGet, http.MethodHead}, "/whep/:stream/:id", s.session)
	e.OPTIONS("/whep/:stream/:id", s.sessionOptions)
	e.PATCH("/whep/:stream/:id", s.patch)
	e.DELETE("/whep/:stream/:id", s.remove)
	for route, h := range s.cfg.Guarded {
		methods := []string{http.MethodGet, http.MethodHead}
		if method, path, other := strings.Cut(route, " "); other {
			methods, route = []string{method}, path
		}
		e.Match(methods, route, s.guard(h))
	}
	if s.cfg.Pages != nil {
		e.Match([]string{http.MethodGet, http.MethodHead}, "/*", echo.WrapHandler(s.cfg.Pages))
	}
	return e
}

// cors lets pages of the configured origin use every answer, errors too
// (FETCH; WHEP 4.4).
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Access-Control-Allow-Origin", cmp.Or(s.cfg.CORSOrigin, "*"))
		if s.cfg.CORSOrigin != "*" {
			h.Add("Vary", "Origin")
		}
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Retry-After, Accept-Patch, Accept-Post, WWW-Authenticate")
		return next(c)
	}
}

// spelling sends other spellings of a URL to the right one: 307, so that POST
// stays POST (WHEP 4.7). Session URLs are final, and preflights must not be
// redirected: their other spellings are read as the right one.
func (s *Server) spelling(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		right := path.Clean("/" + r.URL.Path)
		if right == r.URL.Path {
			return next(c)
		}
		switch r.Method {
		case http.MethodPost, http.MethodGet, http.MethodHead:
			target := *r.URL
			target.Path, target.RawPath, target.Scheme, target.Host = right, "", "", ""
			return c.Redirect(http.StatusTemporaryRedirect, target.String())
		}
		r.URL.Path, r.URL.RawPath = right, ""
		return next(c)
	}
}

// preflight tells whether an OPTIONS request is a CORS preflight (FETCH, 4.8).
func preflight(r *http.Request) bool {
	return r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// options answers OPTIONS on the endpoint; preflights carry no credentials.
func (s *Server) options(c echo.Context) error {
	h := c.Response().Header()
	if _, _, err := s.stream(c); err != nil {
		return err
	}
	h.Set("Accept-Post", sdpType)
	if !preflight(c.Request()) {
		s.iceServers(h)
	}
	allow(h, endpointMethods+", PATCH, DELETE", endpointMethods) // players look here whether PATCH is worth a try
	return c.NoContent(http.StatusOK)
}

func (s *Server) sessionOptions(c echo.Context) error {
	allow(c.Response().Header(), sessionMethods, sessionMethods)
	return c.NoContent(http.StatusOK)
}

func allow(h http.Header, cors, methods string) {
	h.Set("Allow", methods)
	h.Set("Accept-Patch", fragmentType)
	h.Set("Access-Control-Allow-Methods", cors)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match") // by name: * does not cover Authorization
	h.Set("Access-Control-Max-Age", "86400")
	h.Set("Content-Length", "0")
}

// guard serves h to those who have a token, where there are tokens.
func (s *Server) guard(h http.Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.authorize(c.Request(), false); err != nil {
			return err
		}
		for _, name := range c.ParamNames() {
			c.Request().SetPathValue(name, c.Param(name))
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		h.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}

// stream finds the stream of the URL. The error is ErrUnknown.
func (s *Server) stream(c echo.Context) (Stream, string, error) {
	name := c.Param("stream")
	if name == "" {
		name = s.cfg.Default
	}
	st, ok := s.cfg.Streams[name]
	if !ok {
		return nil, "", fmt.Errorf("%w: there is no stream of this name; /streams lists them", ErrUnknown)
	}
	return st, name, nil
}

// discover answers GET and HEAD on the endpoint (WHEP 4.1, 4.2).
func (s *Server) discover(c echo.Context) error {
	if err := s.authorize(c.Request(), false); err != nil {
		return err
	}
	if _, _, err := s.stream(c); err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Type", sdpType)
	h.Set("Content-Length", "0")
	h.Set("Accept-Post", sdpType)
	return c.NoContent(http.StatusOK)
}

// session answers GET and HEAD on a session (WHEP 4.1).
func (s *Server) session(c echo.Context) error {
	if _, err := s.authorized(c); err != nil {
		return err
	}
	c.Response().Header().Set("Content-Length", "0")
	return c.NoContent(http.StatusOK)
}

// errWrongToken is a token that is none of ours.
var errWrongToken = errors.New("the token is not valid")

// authorize checks the Bearer token of a request, or the one in ?token=. A
// request without a token passes when optional.
func (s *Server) authorize(r *http.Request, optional bool) error {
	if len(s.cfg.Tokens) == 0 && s.cfg.Valid == nil {
		return nil
	}
	token := Token(r)
	if token == "" {
		if optional {
			return nil
		}
		return fmt.Errorf("%w: send Authorization: Bearer TOKEN, or ?token=TOKEN", ErrUnauthorized)
	}
	given := sha256.Sum256([]byte(token))
	right := 0
	for _, t := range s.cfg.Tokens {
		want := sha256.Sum256([]byte(t))
		right |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	if right == 0 && (s.cfg.Valid == nil || !s.cfg.Valid(token)) {
		return fmt.Errorf("%w: %w", ErrUnauthorized, errWrongToken)
	}
	return nil
}

// Token is the Bearer token of a request, or the one in ?token=.
func Token(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		token = r.URL.Query().Get("token")
	}
	return strings.TrimSpace(token)
}

// authorized finds the session of a request. Its URL is a secret of 160 bits,
// so a token is needed only where the configuration asks for it; a wrong one is
// refused always.
func (s *Server) authorized(c echo.Context) (*session, error) {
	ses, err := s.find(c.Param("stream"), c.Param("id"))
	if err != nil {
		return nil, err
	}
	return ses, s.authorize(c.Request(), !s.cfg.SessionToken)
}

// limit counts a request against the limits of its address.
func (s *Server) limit(r *http.Request) error {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return fmt.Errorf("the request has no address: %w", err)
	}
	return s.limits.allow(from.Addr(), r.Method == http.MethodPost, time.Now())
}

// mediaType is the media type of a request, without parameters, in lower case.
func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// iceServers writes a Link line for each server (RFC 9725, 4.6).
func (s *Server) iceServers(h http.Header) {
	for _, i := range s.cfg.ICEServers {
		link := "<" + i.URL + `>; rel="ice-server"`
		if i.Username != "" {
			link += `; username="` + i.Username + `"; credential="` + i.Credential + `"; credential-type="password"`
		}
		h.Add("Link", link)
	}
}

// codecs names what the session sends.
func (ses *session) codecs() string {
	var names []string
	for _, a := range ses.served {
		names = append(names, a.format.name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
