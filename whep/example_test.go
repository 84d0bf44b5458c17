package whep_test

import (
	"context"
	"fmt"
	"image"
	"log"
	"log/slog"
	"net/http"

	"golang.org/x/sync/errgroup"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// A program of its own that serves a picture: here the test card, but any
// capture.Source does.
func Example() {
	logger := slog.New(slog.DiscardHandler)
	feed := capture.NewFeed(capture.FeedConfig{
		Open: func(context.Context) (capture.Source, error) {
			return card.New(card.Options{Size: image.Pt(640, 360), FPS: 30, Reason: func() string { return "An example." }}), nil
		},
		Card: func(size image.Point, reason func() string) capture.Source {
			return card.New(card.Options{Size: size, FPS: 30, Reason: reason})
		},
		FPS: 30, Log: logger,
	})
	stream := encode.NewStream(encode.StreamConfig{
		Watch:  func() encode.Tap { return feed.Watch() },
		Size:   func() image.Point { return feed.Status().Info.Size },
		Codecs: encode.Available(), FPS: 30, Bitrate: 3e6, Log: logger,
	})
	server, err := whep.New("127.0.0.1:0", whep.Config{
		Streams: map[string]whep.Stream{"card": stream}, Default: "card",
		Tokens: []string{"sesame"}, Pages: player.Handler(), Log: logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{feed.Run, stream.Run, server.Run} {
		g.Go(func() error { return part(ctx) })
	}

	answer, err := http.Get(fmt.Sprintf("http://%s/whep?token=sesame", server.Addr()))
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Println(answer.StatusCode, answer.Header.Get("Accept-Post"))

	stop()
	if err := g.Wait(); err != nil { // all viewers have been told
		log.Fatal(err)
	}
	// Output:
	// 200 application/sdp
}
