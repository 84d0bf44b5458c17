package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// settingsOf is the block of docs/network.md that follows a proxy's name.
func settingsOf(t *testing.T, proxy string) string {
	t.Helper()
	text, err := os.ReadFile("docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("\n" + proxy + ":\n\n```\n((?s:.*?))```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("docs/network.md has no settings for %s", proxy)
	}
	return string(block[1])
}

// replaced replaces the one place in the text, or fails.
func replaced(t *testing.T, text, old, by string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not once in\n%s", old, text)
	}
	return strings.Replace(text, old, by, 1)
}

// installed finds a program that .ci/unpack gets.
func installed(t *testing.T, name string) string {
	t.Helper()
	for _, place := range []string{name, "/usr/sbin/" + name, "bin/debian/usr/sbin/" + name, "bin/debian/usr/bin/" + name} {
		if path, err := exec.LookPath(place); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				return path
			}
		}
	}
	t.Fatalf("%s is missing: .ci/unpack %s", name, name)
	return ""
}

// TestReverseProxies plays through nginx and Caddy with the settings that the
// documents give, under a name that is not the machine's own: the page in a
// browser, with a token. A wrong token and an end by the owner come through too.
func TestReverseProxies(t *testing.T) {
	const name = "desk.example.org"
	for _, c := range []struct {
		proxy string
		// command writes what stands around the settings, and tells how to run it.
		command func(settings, dir, port string) []string
	}{
		{"nginx", func(settings, dir, port string) []string {
			file := filepath.Join(dir, "nginx.conf")
			writeFile(t, file, fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen 127.0.0.1:%[2]s;
%[3]s
	}
}
`, dir, port, settings))
			return []string{"-p", dir, "-e", "stderr", "-c", file}
		}},
		{"caddy", func(settings, dir, port string) []string {
			file := filepath.Join(dir, "Caddyfile")
			settings = replaced(t, settings, name+" {", "http://"+name+":"+port+" {")
			writeFile(t, file, "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n"+settings)
			return []string{"run", "--config", file, "--adapter", "caddyfile"}
		}},
	} {
		t.Run(c.proxy, func(t *testing.T) {
			p := startProgram(t, "", "--source", "card", "--token", "let-me-in")
			base, key, _ := strings.Cut(p.url, "/?")
			title := map[string]string{"nginx": "nginx", "caddy": "Caddy"}[c.proxy]
			settings := replaced(t, settingsOf(t, title), "127.0.0.1:8080", strings.TrimPrefix(base, "http://"))
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := free.Addr().String()
			free.Close()
			_, port, _ := net.SplitHostPort(address)
			dir := t.TempDir()
			log := &lines{}
			cmd := exec.Command(installed(t, c.proxy), c.command(settings, dir, port)...)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			cmd.Stdout, cmd.Stderr = log, log
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("%s:\n%s", c.proxy, log)
				}
			})
			eventually(t, c.proxy+" answers", func() bool {
				r, err := http.Get("http://" + address + "/")
				if err == nil {
					r.Body.Close()
				}
				return err == nil
			})

			site := "http://" + name + ":" + port
			tab := startBrowser(t, chromedp.Flag("host-resolver-rules", "MAP "+name+" 127.0.0.1"))()
			open(t, tab, site+"/?token=wrong")
			message(t, tab, "no valid token")
			watch(t, tab, site+"/?"+key)
			playsOn(t, tab)
			list := viewersOf(t, base, key)
			if len(list) != 1 {
				t.Fatalf("%d watch", len(list))
			}
			request(t, http.MethodDelete, base+"/viewers/"+list[0].Session+"?"+key, "", "", "", http.StatusNoContent)
			message(t, tab, "has ended this")
		})
	}
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
