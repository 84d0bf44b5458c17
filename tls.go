package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// certificate is what HTTPS is served with; nil for HTTP.
func (s *settings) certificate() (*keptCertificate, error) {
	switch {
	case s.TLSSelf:
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("--tls-self: there is no place to keep the certificate: %w; set HOME, or use --tls-cert", err)
		}
		return ownCertificate(filepath.Join(dir, "deskwhep"), time.Now())
	case s.TLSCert != "":
		return newKeptCertificate(s.TLSCert, s.TLSKey)
	}
	return nil, nil
}

// keptCertificate is a certificate in files, which is read again when they
// change. A pair that cannot be read does not replace one that could.
type keptCertificate struct {
	certFile, keyFile string

	mu      sync.Mutex // guards below
	current *tls.Certificate
	changed [2]time.Time // of the files that current was read from
	looked  time.Time
}

func newKeptCertificate(certFile, keyFile string) (*keptCertificate, error) {
	k := &keptCertificate{certFile: certFile, keyFile: keyFile}
	if err := k.read(); err != nil {
		return nil, err
	}
	return k, nil
}

// read reads the files. The caller holds mu, or nobody else has k.
func (k *keptCertificate) read() error {
	var changed [2]time.Time
	for i, name := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		changed[i] = info.ModTime()
	}
	if k.current != nil && changed == k.changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	k.current, k.changed = &pair, changed
	return nil
}

// get gives the current certificate; it looks at the files at most once a
// second.
func (k *keptCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) > time.Second {
		k.looked = now
		_ = k.read() // a half-written pair: the old one serves until it is whole
	}
	return k.current, nil
}

func (k *keptCertificate) config() *tls.Config {
	return &tls.Config{GetCertificate: k.get, MinVersion: tls.VersionTLS12}
}

// fingerprint is the SHA-256 of the certificate, as browsers show it.
func (k *keptCertificate) fingerprint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := sha256.Sum256(k.current.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// How long a certificate of our own making is valid, and when it is made anew.
const (
	ownFor = 825 * 24 * time.Hour // the most that Apple's systems accept
	ownEnd = 30 * 24 * time.Hour
)

// ownCertificate reads the certificate that is kept in dir, or makes it when there
// is none or it ends soon.
func ownCertificate(dir string, now time.Time) (*keptCertificate, error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	k, err := newKeptCertificate(certFile, keyFile)
	if err == nil {
		if leaf := k.current.Leaf; leaf != nil && now.Add(ownEnd).Before(leaf.NotAfter) {
			return k, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--tls-self: %w; remove %s to have a new one made", err, dir)
	}
	if err := makeOwnCertificate(dir, certFile, keyFile, now); err != nil {
		return nil, fmt.Errorf("--tls-self: make the certificate: %w", err)
	}
	return newKeptCertificate(certFile, keyFile)
}

func makeOwnCertificate(dir, certFile, keyFile string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host, host+".local")
	}
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, a := range localAddresses() {
		addresses = append(addresses, a.AsSlice())
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "deskwhep"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: names, IPAddresses: addresses,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600)
}
