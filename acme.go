package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

var publicName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkACME finds what is wrong with --acme and --acme-directory.
func (s *settings) checkACME(wrong func(flag, format string, args ...any)) {
	for _, name := range s.ACME {
		if !publicName.MatchString(name) {
			wrong("acme", "%q is no public name such as desk.example.org; for others use --tls-self", name)
		}
	}
	if len(s.ACME) > 0 && (s.TLSSelf || s.TLSCert != "" || s.TLSKey != "") {
		wrong("acme", "it gets a certificate, but --tls-self or --tls-cert says to use another; leave one of them out")
	}
	u, err := url.Parse(s.ACMEDirectory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		wrong("acme-directory", "%q is no URL such as %s", s.ACMEDirectory, acme.LetsEncryptURL)
	}
	if s.ACMEDirectory != acme.LetsEncryptURL && len(s.ACME) == 0 {
		wrong("acme-directory", "it does nothing without --acme; give the name to get a certificate for")
	}
}

// publicCertificates gets certificates by ACME (RFC 8555) and renews them. The
// CA convinces itself over the port that HTTPS is served on (TLS-ALPN-01, RFC
// 8737). They are kept beside the one of --tls-self, by CA. It is nil without
// --acme.
func (s *settings) publicCertificates() (*autocert.Manager, error) {
	if len(s.ACME) == 0 {
		return nil, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("--acme: there is no place to keep the certificate: %w; set HOME", err)
	}
	u, err := url.Parse(s.ACMEDirectory)
	if err != nil {
		return nil, fmt.Errorf("--acme-directory: %w", err)
	}
	return &autocert.Manager{
		Prompt:     autocert.AcceptTOS, // --help says so
		HostPolicy: autocert.HostWhitelist(s.ACME...),
		Cache:      autocert.DirCache(filepath.Join(dir, "deskwhep", "acme", u.Host)),
		Client:     &acme.Client{DirectoryURL: s.ACMEDirectory, UserAgent: "deskwhep"},
	}, nil
}

// fetch gets the certificates before somebody asks, so that the log tells at
// once when one cannot be had. It returns when all have been tried.
func fetch(ctx context.Context, m *autocert.Manager, names []string, log *slog.Logger) error {
	for _, name := range names {
		done := make(chan error, 1)
		go func() { // it has no context, but a limit of its own
			_, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				log.Error("no certificate; the CA must reach this server on port 443 of its public name", "name", name, "reason", err)
				continue
			}
			log.Info("certificate", "name", name)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// httpsHost is a name with the port, unless that is HTTPS's own.
func httpsHost(name, port string) string {
	if port == "443" {
		return name
	}
	return net.JoinHostPort(name, port)
}

// bases are the URLs of the server without a path, the handiest first.
func (s *settings) bases(addr netip.AddrPort) (list []string) {
	for _, name := range s.ACME {
		list = append(list, "https://"+httpsHost(name, strconv.Itoa(int(addr.Port()))))
	}
	if len(list) > 0 {
		return list // its certificates have no addresses
	}
	scheme := "http://"
	if s.https() {
		scheme = "https://"
	}
	hosts := []netip.Addr{addr.Addr()}
	if addr.Addr().IsUnspecified() {
		hosts = append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, localAddresses()...)
	}
	for _, h := range hosts {
		list = append(list, scheme+netip.AddrPortFrom(h, addr.Port()).String())
	}
	return list
}

// https tells whether HTTPS is served.
func (s *settings) https() bool { return s.TLSSelf || s.TLSCert != "" || len(s.ACME) > 0 }
