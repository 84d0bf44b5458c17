package whep

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"deskwhep/encode"
)

// What a client did wrong, or the server cannot do now. Handlers wrap them with
// the text that says what to do.
var (
	ErrSyntax               = errors.New("malformed request")
	ErrUnauthorized         = errors.New("not authorized")
	ErrForbidden            = errors.New("not allowed")
	ErrUnknown              = errors.New("not found")
	ErrEnded                = errors.New("the owner has ended this session")
	ErrIdle                 = errors.New("the stream has nothing to play now")
	ErrStale                = errors.New("the entity-tag is not the current one")
	ErrTooLarge             = errors.New("the body is too large")
	ErrMediaType            = errors.New("unsupported media type")
	ErrUnservable           = errors.New("the offer cannot be served")
	ErrPreconditionRequired = errors.New("If-Match is missing")
	ErrRate                 = errors.New("too many requests")
	ErrFull                 = errors.New("no room for another viewer")
)

var statuses = []struct {
	err    error
	status int
	retry  time.Duration // Retry-After; 0 for none
}{
	{ErrSyntax, http.StatusBadRequest, 0},
	{ErrUnauthorized, http.StatusUnauthorized, 0},
	{ErrForbidden, http.StatusForbidden, 0},
	{ErrUnknown, http.StatusNotFound, 0},
	{ErrEnded, http.StatusGone, 0},
	{ErrIdle, http.StatusConflict, 5 * time.Second},
	{ErrStale, http.StatusPreconditionFailed, 0},
	{ErrTooLarge, http.StatusRequestEntityTooLarge, 0},
	{ErrMediaType, http.StatusUnsupportedMediaType, 0},
	{ErrUnservable, http.StatusUnprocessableEntity, 0},
	{ErrPreconditionRequired, http.StatusPreconditionRequired, 0},
	{ErrRate, http.StatusTooManyRequests, time.Second},
	{ErrFull, http.StatusServiceUnavailable, 5 * time.Second},
	{encode.ErrNoCodec, http.StatusUnprocessableEntity, 0},
	{encode.ErrBusy, http.StatusServiceUnavailable, 5 * time.Second},
	{encode.ErrHubEnded, http.StatusServiceUnavailable, 5 * time.Second},
}

// problem is a problem document (RFC 9457).
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// explain makes the status, the problem and Retry-After of an error. An error
// of ours that no client can mend is a 500 without detail.
func explain(err error) (problem, time.Duration) {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return problem{Title: http.StatusText(s.status), Status: s.status, Detail: err.Error()}, s.retry
		}
	}
	var he *echo.HTTPError // the router's 404 and 405
	if errors.As(err, &he) && he.Code < 500 {
		detail := "there is nothing at this address; the WHEP endpoint is /whep"
		if he.Code == http.StatusMethodNotAllowed {
			detail = "this method is not supported here; see Allow"
		}
		return problem{Title: http.StatusText(he.Code), Status: he.Code, Detail: detail}, 0
	}
	return problem{Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError}, 0
}

// fail is Echo's error handler: it answers every error with a problem.
func (s *Server) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p, retry := explain(err)
	if p.Status == http.StatusInternalServerError {
		s.log.Error("request failed", "method", c.Request().Method, "path", c.Path(), "reason", err)
	}
	h := c.Response().Header()
	if retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(retry/time.Second)))
	}
	if p.Status == http.StatusUnauthorized {
		challenge := `Bearer realm="deskwhep"`
		if errors.Is(err, errWrongToken) {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	h.Set("Content-Type", "application/problem+json")
	body, err := json.Marshal(p)
	if err != nil { // cannot happen: three plain fields
		body = nil
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Response().WriteHeader(p.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = c.Response().Write(body) // the client may be gone
	}
}

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

func unservable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnservable, fmt.Sprintf(format, args...))
}
