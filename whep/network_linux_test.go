package whep

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"deskwhep/encode/encodetest"
	"deskwhep/whep/relaytest"
)

// playerAddress is in the environment of a player that has a network of its
// own: its address there.
const playerAddress = "DESKWHEP_TEST_ADDRESS"

// The server has this address, and each player another one of the same network.
var serverAddress = netip.AddrFrom4([4]byte{10, 9, 0, 1})

// network joins network namespaces: the server's and those of players. The
// kernel's own UDP, TCP and routing end at TUN devices there; what leaves one is
// carried to another as the paths of that player do.
type network struct {
	server *os.File // TUN device

	mu      sync.Mutex
	players map[netip.Addr]*port
	last    netip.Addr
}

// port is a player's place in a network.
type port struct {
	down, up *relaytest.Way
	noUDP    bool
}

// carry carries an IPv4 packet one way.
func (p *port) carry(over *relaytest.Way, b []byte) {
	if p.noUDP && b[9] == unix.IPPROTO_UDP {
		return
	}
	over.Carry(b, true)
}

// startAway starts a server in a namespace of its own.
func startAway(t testing.TB, src *encodetest.Source) (*insideServer, *network) {
	t.Helper()
	n := &network{players: map[netip.Addr]*port{}, last: serverAddress}
	done := make(chan struct{})
	var running sync.WaitGroup
	in := startInsideBy(t, src, func(cfg Config) (server *Server, err error) {
		made := make(chan struct{})
		go func() {
			defer close(made)
			runtime.LockOSThread() // for good: the thread ends with its namespace
			if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return
			}
			var fd int
			if fd, err = openTUN(serverAddress); err != nil {
				return
			}
			n.server = os.NewFile(uintptr(fd), "tun")
			if server, err = New(netip.AddrPortFrom(serverAddress, 0).String(), cfg); err == nil {
				here := server.ports.at // other threads see other interfaces
				server.ports.addresses = func() ([]netip.Addr, error) { return here, nil }
			}
		}()
		<-made
		return server, err
	})
	running.Go(func() {
		readPackets(n.server, func(to netip.Addr, b []byte) {
			n.mu.Lock()
			p := n.players[to]
			n.mu.Unlock()
			if p != nil {
				p.carry(p.down, b)
			}
		})
	})
	t.Cleanup(func() {
		close(done)
		n.server.Close()
		running.Wait()
	})
	return in, n
}

// readPackets gives each IPv4 packet of a TUN device with its destination to take,
// until the device is closed.
func readPackets(tun *os.File, take func(to netip.Addr, b []byte)) {
	buf := make([]byte, 65536)
	for {
		k, err := tun.Read(buf)
		if err != nil {
			return
		}
		if b := buf[:k]; k >= 20 && b[0]>>4 == 4 {
			take(netip.AddrFrom4([4]byte(b[16:20])), b)
		}
	}
}

// join gives a process that is about to start a namespace of its own, with
// paths that do to each packet, of whatever kind, what link tells; the way to
// the server has any rate.
func (n *network) join(t testing.TB, link relaytest.Link) (prepare func(*exec.Cmd) (started func())) {
	return func(cmd *exec.Cmd) func() {
		n.mu.Lock()
		n.last = n.last.Next()
		address := n.last
		n.mu.Unlock()
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s", playerAddress, address))
		cmd.ExtraFiles = []*os.File{theirs}
		return func() {
			theirs.Close()
			tun := receiveFile(t, ours)
			ours.Close()
			p := &port{noUDP: link.NoUDP}
			seed := uint64(address.As4()[3])
			p.down = relaytest.NewWay(link, seed, func(b []byte) { _, _ = tun.Write(b) })
			back := link
			back.Rate = 0
			p.up = relaytest.NewWay(back, seed+100, func(b []byte) { _, _ = n.server.Write(b) })
			done := make(chan struct{})
			var running sync.WaitGroup
			running.Go(func() { p.down.Run(done) })
			running.Go(func() { p.up.Run(done) })
			running.Go(func() {
				readPackets(tun, func(_ netip.Addr, b []byte) { p.carry(p.up, b) })
			})
			n.mu.Lock()
			n.players[address] = p
			n.mu.Unlock()
			t.Cleanup(func() {
				n.mu.Lock()
				delete(n.players, address)
				n.mu.Unlock()
				close(done)
				tun.Close()
				running.Wait()
			})
		}
	}
}

// moveIn makes the address this process's own in its namespace and hands its
// device to the parent, which is at descriptor 3.
func moveIn(address string) error {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	fd, err := openTUN(a)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("hand over the TUN device: %w", err)
	}
	return unix.Close(3)
}

func receiveFile(t testing.TB, from *os.File) *os.File {
	t.Helper()
	control := make([]byte, unix.CmsgSpace(4))
	_, k, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), control, 0)
	if err != nil {
		t.Fatalf("receive the TUN device: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:k])
	if err != nil || len(messages) != 1 {
		t.Fatalf("the player's process gave no TUN device: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("the player's process gave no TUN device: %v", err)
	}
	return os.NewFile(uintptr(fds[0]), "tun")
}

// openTUN brings up loopback and a TUN device with the address in this thread's
// namespace.
func openTUN(a netip.Addr) (int, error) {
	const name = "whep0"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	defer unix.Close(socket)
	device, err1 := unix.NewIfreq(name)
	loopback, err2 := unix.NewIfreq("lo")
	if err := errors.Join(err1, err2); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	ip := a.As4()
	for _, step := range []func() error{
		func() error {
			device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			return unix.IoctlIfreq(fd, unix.TUNSETIFF, device)
		},
		func() error {
			_ = device.SetInet4Addr(ip[:])
			return unix.IoctlIfreq(socket, unix.SIOCSIFADDR, device)
		},
		func() error {
			_ = device.SetInet4Addr(net.CIDRMask(16, 32))
			return unix.IoctlIfreq(socket, unix.SIOCSIFNETMASK, device)
		},
		func() error {
			device.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
			return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, device)
		},
		func() error {
			loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
			return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback)
		},
	} {
		if err := step(); err != nil {
			return -1, errors.Join(fmt.Errorf("set up a TUN device: %w", err), unix.Close(fd))
		}
	}
	return fd, nil
}
