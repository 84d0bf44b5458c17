package whep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// maxBody bounds the body of a POST and a PATCH in bytes; the largest offers of
// browsers have about 12 KiB.
const maxBody = 64 << 10

// read reads a body of at most maxBody.
func read(c echo.Context) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, maxBody)
	case err != nil:
		return nil, syntax("the body ended early: %v", err)
	}
	return body, nil
}

// post makes a session (WHEP 4.3).
func (s *Server) post(c echo.Context) error {
	r := c.Request()
	if err := s.authorize(r, false); err != nil {
		return err
	}
	if err := s.limit(r); err != nil {
		return err
	}
	st, name, err := s.stream(c)
	if err != nil {
		return err
	}
	if t := mediaType(r); t != sdpType {
		return fmt.Errorf("%w: %q; send the offer as %s", ErrMediaType, clip(t), sdpType)
	}
	body, err := read(c)
	if err != nil {
		return err
	}
	o, err := readOffer(body)
	if err != nil {
		return err
	}
	if err := s.reserve(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	admitted := false
	defer func() {
		if !admitted {
			cancel(err)
			s.release()
		}
	}()
	ses, answer, err := s.open(narrow(st, r.URL.Query()["codec"]), name, o, cancel)
	if err != nil {
		return err
	}
	ses.joined(Answered, time.Since(ses.created))
	h := c.Response().Header()
	h.Set("Location", "/whep/"+name+"/"+ses.id)
	h.Set("ETag", ses.etag)
	h.Set("Accept-Patch", fragmentType)
	s.iceServers(h)
	admitted = true
	s.admit(ctx, ses)
	return c.Blob(http.StatusCreated, sdpType, []byte(answer))
}

// patch takes a player's candidates or restarts ICE (WHEP 4.5). Its checks come
// in the order 404, 401, 415, 400, 428 or 412, 422.
func (s *Server) patch(c echo.Context) error {
	r := c.Request()
	if err := s.limit(r); err != nil {
		return err
	}
	ses, err := s.authorized(c)
	if err != nil {
		return err
	}
	switch t := mediaType(r); t {
	case fragmentType:
	case sdpType:
		return unservable("a session is not renegotiated; POST a new offer")
	default:
		return fmt.Errorf("%w: %q; send %s", ErrMediaType, clip(t), fragmentType)
	}
	body, err := read(c)
	if err != nil {
		return err
	}
	f, err := readFragment(string(body))
	if err != nil {
		return err
	}
	ses.mu.Lock()
	defer ses.mu.Unlock()
	current := f.ufrag == "" || f.ufrag == ses.offer.ufrag && f.pwd == ses.offer.pwd
	if _, err := match(r.Header.Values("If-Match"), ses.etag); err != nil {
		if !s.cfg.LenientPatch || !current || !errors.Is(err, ErrPreconditionRequired) {
			return err
		}
	}
	if current {
		ses.trickle(f)
		return c.NoContent(http.StatusNoContent)
	}
	t, err := ses.restart(f)
	if err != nil {
		return err
	}
	c.Response().Header().Set("ETag", ses.etag)
	return c.Blob(http.StatusOK, fragmentType, []byte(writeFragment(ses.offer, ses.served, t)))
}

// remove ends a session; an If-Match is ignored (WHEP 4.4, 4.5.1).
func (s *Server) remove(c echo.Context) error {
	if err := s.limit(c.Request()); err != nil {
		return err
	}
	ses, err := s.authorized(c)
	if err != nil {
		return err
	}
	s.forget(ses)
	ses.end(errDeleted)
	c.Response().Header().Set("Content-Length", "0")
	return c.NoContent(http.StatusOK)
}
