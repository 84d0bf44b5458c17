package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"image"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"deskwhep/conformance"
	"deskwhep/encode"
	"deskwhep/whep"
)

// deviations are the warnings that we accept, and why. One that is no longer
// there fails the test.
var deviations = map[string]string{
	"WHEP-TRK-11": "players' candidates are not contacted: nothing is sent to an address that has not proved itself",
}

// idleStream is known and has nothing to play.
type idleStream struct{}

func (idleStream) Join([]encode.Want) (*encode.Viewer, encode.Codec, error) {
	return nil, "", fmt.Errorf("%w: its window is closed", whep.ErrIdle)
}

// waiting are cases that mostly wait for timers of the server. They run beside
// the others, each list against a server of its own.
var waiting = [][]string{{"WHEP-TOL-06"}, {"WHEP-RST-10", "WHEP-ICE-02"}}

// TestConformance runs every case of the suite against our own server, with a
// token over HTTPS.
func TestConformance(t *testing.T) {
	t.Parallel() // it waits most of the time
	var rest []string
	for _, c := range conformance.Cases() {
		if !slices.Contains(slices.Concat(waiting...), c.ID) {
			rest = append(rest, c.ID)
		}
	}
	parts := append([][]string{rest}, waiting...)
	reports, errs := make([]*conformance.Report, len(parts)), make([]error, len(parts))
	var wg sync.WaitGroup
	var servers []*inside
	for i, ids := range parts {
		in := startChecked(t)
		servers = append(servers, in)
		wg.Go(func() { reports[i], errs[i] = checkCases(t, in, ids) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, in := range servers {
		eventually(t, "the suite leaves no session", func() bool { return in.Viewers() == 0 })
	}
	report := reports[0]
	for _, r := range reports[1:] {
		report.Results = append(report.Results, r.Results...)
		report.Took = max(report.Took, r.Took)
	}
	if len(report.Results) != len(conformance.Cases()) {
		t.Fatalf("%d of %d cases ran", len(report.Results), len(conformance.Cases()))
	}
	var table strings.Builder
	if err := conformance.WriteTable(&table, report); err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		reason, known := deviations[r.ID]
		switch {
		case r.Verdict == conformance.FAIL, r.Verdict == conformance.WARN && !known:
			t.Errorf("%s: %s\n%v\n%s", r.ID, r.Verdict, r.Findings, strings.Join(r.Evidence, "\n"))
		case known && r.Verdict != conformance.WARN:
			t.Errorf("%s is %s: it is no deviation any more (%s)", r.ID, r.Verdict, reason)
		}
	}
	if n := report.Count(conformance.PASS); n < 130 {
		t.Errorf("only %d cases pass\n%s", n, table.String())
	}
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	t.Log(lines[len(lines)-1])
}

// startChecked starts a server with all that the suite asks about.
func startChecked(t *testing.T) *inside {
	t.Helper()
	return startInside(t, image.Pt(320, 240), func(c *whep.Config) {
		c.TLS = selfSigned(t)
		c.Tokens = []string{"sesame"}
		c.Streams["other"], c.Streams["idle"] = c.Streams["card"], idleStream{}
		c.ICEServers = []whep.ICEServer{{URL: "stun:127.0.0.1"}, {URL: "turn:127.0.0.1", Username: "u", Credential: "p"}}
		c.SetupTimeout = 4 * time.Second
	})
}

// checkCases runs cases against such a server. It may be called from any
// goroutine.
func checkCases(t *testing.T, in *inside, ids []string) (*conformance.Report, error) {
	return conformance.Run(t.Context(), conformance.Options{
		URL: in.url, Token: "sesame", Insecure: true, Destructive: true, Only: ids,
		OtherURL: in.url + "/other", IdleURL: in.url + "/idle",
		Progress: func(done, of int, r conformance.Result) {
			if r.Took > 5*time.Second {
				t.Logf("%d/%d %s took %v", done, of, r.ID, r.Took.Round(time.Second/10))
			}
		},
	})
}

// TestRecordedPlayers replays each recorded player with its habits. go2rtc knows
// H.264 only.
func TestRecordedPlayers(t *testing.T) {
	in := startInside(t, image.Pt(320, 240), nil)
	for _, name := range conformance.Players() {
		report, err := conformance.Run(t.Context(), conformance.Options{URL: in.url, Player: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if report.Failed() || report.Count(conformance.PASS) == 0 {
			var table strings.Builder
			if err := conformance.WriteTable(&table, report); err != nil {
				t.Fatal(err)
			}
			t.Errorf("%s:\n%s", name, table.String())
		}
	}
}

// selfSigned makes a certificate for loopback.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}
