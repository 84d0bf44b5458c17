package whep

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"deskwhep/encode/encodetest"
	"deskwhep/whep/relaytest"
)

// notPermitted counts tests that need more than this machine lets them do.
var notPermitted atomic.Int32

// startAwayScene is startScene in network namespaces: the server in one, the
// good viewers in another.
func startAwayScene(t *testing.T, src *encodetest.Source) (*scene, *network) {
	t.Helper()
	if err := mayNetwork(); err != nil {
		t.Skipf("skipped, the %d. of such tests: network namespaces with TUN devices are not to be had here: %v", notPermitted.Add(1), err)
	}
	in, n := startAway(t, src)
	s := &scene{insideServer: in, stop: stream(t, src)}
	good := startPlayers(t, goodViewers, s.url, n.join(t, relaytest.Link{}))
	s.good = func() []watched { return good.seen(t) }
	s.count(t)
	return s, n
}

// mayNetwork tells why a network cannot be made: it tries.
func mayNetwork() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		fd, err := openTUN(serverAddress)
		if err == nil {
			err = unix.Close(fd)
		}
		result <- err
	}()
	return <-result
}

// TestHardPathsOfNetwork is TestHardPaths with the kernel's network: all is
// lost and delayed, and in both directions; the players are other processes.
func TestHardPathsOfNetwork(t *testing.T) {
	s, n := startAwayScene(t, middling())
	for _, c := range hardPaths {
		t.Run(c.name, func(t *testing.T) {
			c.link.Delay = pathDelay
			s.count(t)
			bad := startPlayers(t, 1, s.url, n.join(t, c.link))
			s.suffer(t, c.least, func() watched { return bad.seen(t)[0] })
			bad.stop()
			eventually(t, "the session ends", func() bool { return s.Viewers() == goodViewers })
		})
	}
}

// TestUDPBlockedByNetwork has one viewer whose network lets no UDP through, to
// the server or back: it plays over TCP.
func TestUDPBlockedByNetwork(t *testing.T) {
	s, n := startAwayScene(t, small())
	bad := startPlayers(t, 1, s.url, n.join(t, relaytest.Link{Delay: pathDelay, NoUDP: true}))
	s.pass(t, watchFor)
	if v := s.bad(t); v.Transport != "tcp4" {
		t.Errorf("it plays over %s", v.Transport)
	}
	end := s.hub.Status().Units
	s.check(t, 1)
	eventually(t, "the TCP viewer has seen the last picture", func() bool { return bad.seen(t)[0].Last >= int64(end)-1 })
	saw := bad.seen(t)[0]
	if saw.Skipped > 0 {
		t.Errorf("%+v", saw)
	}
	s.tell(t, saw)
}

// TestKilledViewer kills the process of a viewer.
func TestKilledViewer(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := startScene(t, small())
	bad := startPlayers(t, 1, s.url, nil)
	eventually(t, "the bad viewer is served", func() bool { return bad.seen(t)[0].Decoded > 0 })
	s.count(t)
	if err := bad.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session ends", func() bool { return s.Viewers() == goodViewers })
	s.check(t, 0)
}
