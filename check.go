package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"deskwhep/conformance"
)

// check is the command that tests a WHEP endpoint.
type check struct {
	URL string `arg:"" help:"WHEP endpoint, http or https."`

	Token       string   `placeholder:"TOKEN" help:"Bearer token that the endpoint wants."`
	Profile     string   `default:"main" enum:"main,03,02,01,00" help:"Text to check against: main (working group, 2026), or draft 03, 02, 01, 00."`
	Only        []string `placeholder:"ID" help:"Run only the cases whose ids begin so (repeatable)."`
	Player      string   `placeholder:"NAME" help:"Replay a recorded player instead: ${players}."`
	Origin      string   `placeholder:"ORIGIN" help:"Origin of the foreign page that the tester plays."`
	Idle        string   `placeholder:"URL" help:"Endpoint of a stream that is known and idle."`
	Other       string   `placeholder:"URL" help:"Endpoint of another stream of the same server."`
	Destructive bool     `help:"Also run cases that flood or wait long."`
	Insecure    bool     `help:"Accept any TLS certificate."`
	JSON        string   `name:"json" type:"path" placeholder:"FILE" help:"Write the report as JSON."`
	JUnit       string   `name:"junit" type:"path" placeholder:"FILE" help:"Write the report as JUnit XML."`
}

// Help implements kong.HelpProvider.
func (check) Help() string {
	return "The exit code is 0 when no case fails, 1 when one does, and 2 when the endpoint could not be checked: it cannot be reached, an argument is wrong, a report cannot be written, or the run was interrupted."
}

// Run checks the endpoint. The error is exit(1) when a case fails. Interrupted,
// it reports on the cases that are done.
func (c *check) Run(ctx context.Context, out io.Writer) (err error) {
	asJSON, err := create(c.JSON) // now, so that a wrong name costs no run
	if err != nil {
		return err
	}
	defer closeReport(asJSON, &err)
	asJUnit, err := create(c.JUnit)
	if err != nil {
		return err
	}
	defer closeReport(asJUnit, &err)
	report, stopped := conformance.Run(ctx, conformance.Options{
		URL: c.URL, Token: c.Token, Profile: c.Profile, Only: c.Only, Player: c.Player, Origin: c.Origin,
		IdleURL: c.Idle, OtherURL: c.Other, Destructive: c.Destructive, Insecure: c.Insecure,
		Progress: func(done, of int, r conformance.Result) {
			fmt.Fprintf(out, "%3d/%d %-4s %s\n", done, of, r.Verdict, r.ID)
		},
	})
	if report == nil {
		if wrong := (*tls.CertificateVerificationError)(nil); errors.As(stopped, &wrong) {
			return fmt.Errorf("%w; --insecure accepts any certificate", stopped)
		}
		return stopped
	}
	fmt.Fprintln(out)
	err = conformance.WriteTable(out, report)
	if asJSON != nil {
		err = errors.Join(err, conformance.WriteJSON(asJSON, report))
	}
	if asJUnit != nil {
		err = errors.Join(err, conformance.WriteJUnit(asJUnit, report))
	}
	switch {
	case err != nil:
		return fmt.Errorf("write the report: %w", err)
	case stopped != nil:
		return fmt.Errorf("stopped before the last case: %w", stopped)
	case report.Failed():
		return exit(1)
	}
	return nil
}

// create makes the file for a report; no name, no file.
func create(name string) (*os.File, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return f, nil
}

func closeReport(f *os.File, err *error) {
	if f != nil {
		*err = errors.Join(*err, f.Close())
	}
}

func playerNames() string { return strings.Join(conformance.Players(), ", ") }
