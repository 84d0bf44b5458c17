// Deskwhep is a WHEP endpoint for a desktop: it captures the screen, encodes it
// once in real time, and lets any compliant WHEP player pull it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/crypto/acme"

	"deskwhep/encode"
)

// version is set by the linker for releases.
var version = "dev"

// commands is the command line.
type commands struct {
	Serve    serve      `cmd:"" default:"withargs" help:"Stream the desktop (the default)."`
	Monitors monitors   `cmd:"" help:"List the monitors that --target can name."`
	Check    check      `cmd:"" help:"Test any WHEP endpoint against the standard, clause by clause."`
	Doctor   doctor     `cmd:"" help:"Try what serving with the same flags would do, and tell what works here and what does not."`
	Link     linkCmd    `cmd:"" help:"Make a link that lets people watch for a while."`
	Version  versionCmd `cmd:"" help:"Print the versions of deskwhep and of its encoder libraries."`
}

// Help implements kong.HelpProvider.
func (commands) Help() string {
	return `The flags of serve may be given without the word; "deskwhep serve --help" tells of them. Each is also a variable, such as DESKWHEP_FPS, and a key of the file that --config names. Some ways to begin:

  deskwhep                           stream the desktop, for this machine
  deskwhep --listen 0.0.0.0:8080     for others, with a token in the printed URL
  deskwhep --target monitor:DP-1     one monitor
  deskwhep doctor                    find out what works here
  deskwhep link --for 1h --token T   a link that expires
  deskwhep check http://HOST/whep    test any WHEP server`
}

type versionCmd struct{}

func (versionCmd) Run(out io.Writer) error {
	_, err := fmt.Fprintf(out, "deskwhep %s\n%s\n", version, strings.Join(encode.Libraries(), "\n"))
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	code := exitCode(err)
	if _, told := errors.AsType[exit](err); !told && err != nil {
		fmt.Fprintln(os.Stderr, "deskwhep:", err)
	}
	os.Exit(code)
}

// exitCode is 0 when all went well, 1 when what was checked is not well, and 2
// when the command could not be run.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	return 2
}

// exit is an error that has been told already and sets the exit code.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// vars is what help texts and defaults refer to.
func vars() kong.Vars {
	return kong.Vars{"players": playerNames(), "codecs": codecNames(), "acme": acme.LetsEncryptURL}
}

// run runs the command in args until it is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c commands
	var code *exit
	parser, err := kong.New(&c,
		kong.Name("deskwhep"),
		kong.Description("A WHEP endpoint for your desktop: open the printed URL in a browser, or give the WHEP URL to any WHEP player."),
		kong.DefaultEnvars("DESKWHEP"),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }), // without each variable's name
		vars(),
		kong.Writers(stdout, stderr),
		kong.Exit(func(n int) { e := exit(n); code = &e }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(stdout, (*io.Writer)(nil)),
		kong.BindTo(stderr, (*logWriter)(nil)),
	)
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	var settings *file
	if path := configPath(args); path != "" {
		if settings, err = readFile(path); err != nil {
			return err
		}
		if err := kong.Resolvers(settings).Apply(parser); err != nil {
			return fmt.Errorf("command line: %w", err)
		}
	}
	k, err := parser.Parse(args)
	if code != nil { // --help has been printed
		if *code == 0 {
			return nil
		}
		return *code
	}
	if err != nil {
		return unreadable(parser.Model, args, settings, err)
	}
	return k.Run(settings)
}
