//go:build linux

package wayland

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCapture measures a frame of a terminal that writes a line: the CPU
// time of client and compositor, its own drawing included, and the bytes
// allocated.
func BenchmarkCapture(b *testing.B) {
	d := sway(b)
	d.tell(b, "output", "HEADLESS-1", "mode", "1920x1080")
	text := d.terminal(b)
	src, err := Open(b.Context(), Options{Display: d.socket, Output: "HEADLESS-1"})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	next := func() {
		f, err := src.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		f.Release()
	}
	for range 3 {
		fmt.Fprint(text, "begin\r\n")
		next()
	}
	var before, after runtime.MemStats
	runtime.GC()
	used := schedstat(b, "self") + schedstat(b, strconv.Itoa(d.cmd.Process.Pid))
	runtime.ReadMemStats(&before)
	frames := 0
	for ; b.Loop(); frames++ {
		text.WriteString("the quick brown fox jumps over the lazy dog\r\n")
		next()
	}
	runtime.ReadMemStats(&after)
	used = schedstat(b, "self") + schedstat(b, strconv.Itoa(d.cmd.Process.Pid)) - used
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(frames), "B/frame")
	b.ReportMetric(used.Seconds()*1e3/float64(frames), "cpu-ms/frame")
}

func schedstat(b *testing.B, pid string) (total time.Duration) {
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range tasks {
		text, _ := os.ReadFile(t) // none: the thread has ended
		ran, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(ran, 10, 64)
		total += time.Duration(ns)
	}
	return total
}

// terminal starts foot, and gives what it shows.
func (d *desktop) terminal(tb testing.TB) *os.File {
	tb.Helper()
	fifo := filepath.Join(d.dir, "text")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		tb.Fatal(err)
	}
	terminal := d.command("foot", "--override=colors.background=000000", "--override=cursor.blink=no", "cat", fifo)
	if err := terminal.Start(); err != nil {
		tb.Fatalf("foot (Debian package foot): %v", err)
	}
	tb.Cleanup(func() {
		terminal.Process.Kill()
		terminal.Wait()
	})
	text, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { text.Close() })
	return text
}
