package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"
)

// TestTerminal starts the program on a terminal, with an address that others
// reach: it shows a code of the URL, and a line that tells what is going on.
func TestTerminal(t *testing.T) {
	out := filepath.Join(t.TempDir(), "typescript")
	// exec, because some shells stay between the terminal and the program, and
	// die of the Ctrl-C themselves.
	cmd := exec.Command("script", "-q", "-f", "-e", "-c", "exec "+bin+" --source card --listen 0.0.0.0:0 --token let-me-in", out)
	cmd.Env = append(os.Environ(), "TERM=xterm")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start script (Debian package bsdutils): %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said := func() string {
		b, _ := os.ReadFile(out)
		return string(b)
	}
	eventually(t, "the line is there", func() bool { return strings.Contains(said(), "nobody is watching") })
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(said())
	player := startPlayer(t, url+"whep?token=let-me-in", nil)
	player.frame(t)
	eventually(t, "the line tells of the viewer", func() bool {
		return regexp.MustCompile(`1 watching \| \d+ fps \| [\d.]+ Mbit/s each \| desktop`).MatchString(said())
	})
	if len(localAddresses()) > 0 && !strings.Contains(said(), "\x1b[30;107m") {
		t.Error("there is no code")
	}
	if _, err := stdin.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("after Ctrl-C it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Ctrl-C does not end it")
	}
}

// TestCode reads the blocks of a code back into modules.
func TestCode(t *testing.T) {
	const text = "https://192.0.2.1:8080/?token=ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	want, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	drawn := code(text)
	plain := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(drawn, "")
	rows := strings.Split(strings.TrimRight(plain, "\n"), "\n")
	black := func(x, y int) bool {
		c := []rune(rows[(y+2)/2])[x+2]
		return c == '█' || c == '▀' && y%2 == 0 || c == '▄' && y%2 != 0
	}
	for y := range want.Size {
		for x := range want.Size {
			if black(x, y) != want.Black(x, y) {
				t.Fatalf("module %d,%d is wrong in\n%s", x, y, plain)
			}
		}
	}
}

// TestCertificateIsRenewed replaces the certificate of a running program.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := makeOwnCertificate(dir, certFile, keyFile, time.Now()); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "", "--source", "card", "--tls-cert", certFile, "--tls-key", keyFile)
	serial := func() string {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		r, err := client.Get(p.url + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil { // as if caught in the middle
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the files are looked at once a second
	if serial() != before {
		t.Error("half a certificate is served")
	}
	if err := makeOwnCertificate(dir, certFile, keyFile, time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate is served", func() bool { return serial() != before })

	kept, err := ownCertificate(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := ownCertificate(dir, time.Now().Add(ownFor-ownEnd+time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if kept.fingerprint() == renewed.fingerprint() {
		t.Error("a certificate that ends soon is not renewed")
	}
}
