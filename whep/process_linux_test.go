package whep

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// playerProcess is in the environment of a process that plays: the number of
// players and the URL.
const playerProcess = "DESKWHEP_TEST_PLAYERS"

// players are watchers in another process.
type players struct {
	cmd  *exec.Cmd
	stop func()

	mu    sync.Mutex // guards the exchange
	in    *os.File
	lines *bufio.Scanner
}

// startPlayers starts n players of a URL in a process of their own, which
// prepare, unless it is nil, may put somewhere else, and waits until they are
// connected.
func startPlayers(t testing.TB, n int, url string, prepare func(*exec.Cmd) (started func())) *players {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	p := &players{cmd: exec.CommandContext(ctx, exe, "-test.run=^TestPlayerProcess$")}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", playerProcess, n, url))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	p.cmd.Stderr = &stderr
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdin, p.in = read, write
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := func() {}
	if prepare != nil {
		started = prepare(p.cmd)
	}
	err = p.cmd.Start()
	read.Close()
	if err != nil {
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		write.Close() // asks it to end
		_ = p.cmd.Wait()
		cancel()
	})
	t.Cleanup(p.stop)
	started()
	p.lines = bufio.NewScanner(out)
	var said []string
	for p.lines.Scan() {
		if p.lines.Text() == "ready" {
			return p
		}
		said = append(said, p.lines.Text())
	}
	p.stop()
	t.Fatalf("the players did not connect:\n%s\n%s", strings.Join(said, "\n"), &stderr)
	return p
}

// seen is what each of the players has seen until now.
func (p *players) seen(t testing.TB) (all []watched) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.in.WriteString("seen\n"); err != nil {
		t.Fatal(err)
	}
	if !p.lines.Scan() {
		t.Fatalf("the players' process has ended: %v", p.lines.Err())
	}
	if err := json.Unmarshal(p.lines.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPlayerProcess is the process of startPlayers.
func TestPlayerProcess(t *testing.T) {
	count, url, ok := strings.Cut(os.Getenv(playerProcess), " ")
	if !ok {
		t.Skip("it is started by other tests")
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	local := net.IP.IsLoopback
	if address := os.Getenv(playerAddress); address != "" {
		if err := moveIn(address); err != nil {
			t.Fatal(err)
		}
		local = func(ip net.IP) bool { return ip.String() == address }
	}
	var list []*watcher
	for range n {
		w, err := newWatcher(url, nil, local)
		if err != nil {
			t.Fatal(err)
		}
		defer w.pc.GracefulClose()
		list = append(list, w)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var all []watched
		for _, w := range list {
			all = append(all, w.seen())
		}
		answer, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(answer))
	}
}
