package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

const acmeName = "desk.example.org"

// loopbackNames starts a name server for which every name is this machine.
func loopbackNames(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(answer) // the CA may be gone
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// TestPublicCertificate gets a certificate from a CA on this machine, which
// convinces itself over the program's own port; plays under the public name; and
// finds the certificate kept when it starts again, without the CA.
func TestPublicCertificate(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	directory := selfSigned(t)
	trusted := filepath.Join(dir, "trusted.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: directory.Certificates[0].Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trusted)
	l, err := tls.Listen("tcp", "127.0.0.1:0", directory)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--source", "card", "--acme", acmeName, "--acme-directory", "https://" + l.Addr().String() + wfe.DirectoryPath, "--token", "let-me-in"}
	p := startProgram(t, "", args...)
	if !strings.HasPrefix(p.url, "https://"+acmeName+":") {
		t.Fatalf("the URL is %s", p.url)
	}
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:" + u.Port())

	// The CA: until now the program's request has waited.
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(quiet, store, va.New(quiet, 0, int(at.Port()), true, loopbackNames(t), store), authority, []string{"ca.example"}, true, false, 0, 0)
	server := &http.Server{Handler: front.Handler(), ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stop := func() { _ = server.Close(); <-done }

	roots := x509.NewCertPool()
	roots.AddCert(authority.GetRootCert(0).Cert)
	handshake := func(name string) (*x509.Certificate, error) {
		d := &net.Dialer{Timeout: 30 * time.Second}
		c, err := tls.DialWithDialer(d, "tcp", at.String(), &tls.Config{ServerName: name, RootCAs: roots})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0], nil
	}
	eventually(t, "the log tells of the certificate", func() bool { return strings.Contains(p.log.String(), "msg=certificate name="+acmeName) })
	first, err := handshake(acmeName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake("other.example.org"); err == nil {
		t.Error("a name that was not asked for has a certificate")
	}
	tab := startBrowser(t, chromedp.Flag("host-resolver-rules", "MAP "+acmeName+" 127.0.0.1"), chromedp.Flag("ignore-certificate-errors", true))()
	watch(t, tab, p.url)
	stop()
	p.stop(t)

	p = startProgram(t, "", append(args, "--listen", at.String())...)
	eventually(t, "the certificate is found", func() bool { return strings.Contains(p.log.String(), "msg=certificate name="+acmeName) })
	again, err := handshake(acmeName)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Equal(first) {
		t.Error("the certificate was not kept")
	}
	if files, err := filepath.Glob(filepath.Join(dir, "deskwhep/acme/*/"+acmeName)); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	} else if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", files[0], info.Mode(), err)
	}
}

// TestNoCertificate starts with a CA that is not there: the log says so, and the
// program goes on.
func TestNoCertificate(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := startProgram(t, "", "--source", "card", "--acme", acmeName, "--acme-directory", "https://"+l.Addr().String())
	eventually(t, "the log tells why", func() bool { return strings.Contains(p.log.String(), "the CA must reach this server on port 443") })
	p.stop(t)
}
