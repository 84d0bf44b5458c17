package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows says which packages a package of this module may import; its
// sub-packages and itself it always may.
var arrows = map[string][]string{
	"capture":      {},
	"encode":       {"capture"},
	"interceptors": {},
	"whep":         {"encode", "interceptors"},
	"conformance":  {},
	"":             {"capture", "encode", "interceptors", "whep", "conformance"}, // main
}

// testArrows says what tests may import beyond that.
var testArrows = map[string][]string{
	"conformance": {"capture", "encode", "interceptors", "whep"},
	"whep":        {"capture"}, // the example
}

// TestImportArrows checks every source file against arrows.
func TestImportArrows(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && file != "." && strings.HasPrefix(e.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		from, _, _ := strings.Cut(filepath.ToSlash(file), "/")
		if strings.HasSuffix(from, ".go") {
			from = ""
		}
		allowed, known := arrows[from]
		if !known {
			t.Errorf("%s: no package of that name is in the design", file)
			return nil
		}
		if strings.HasSuffix(file, "_test.go") {
			allowed = slices.Concat(allowed, testArrows[from])
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			inside, ok := strings.CutPrefix(name, "deskwhep/")
			if !ok {
				continue
			}
			seen++
			to, _, _ := strings.Cut(inside, "/")
			if to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s; %s may import only %v", file, name, path.Join("deskwhep", from), allowed)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("no import was checked")
	}
}

// TestReadmeCommands checks that every make target and every flag that the
// README names exists.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`make ([a-z]+)`).FindAllStringSubmatch(string(readme), -1)
	if len(targets) < 2 {
		t.Error("the README names fewer than two make targets")
	}
	for _, m := range targets {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
			t.Errorf("the README names %q, which the Makefile has not", m[0])
		}
	}
	help := help(t, "serve", "--help")
	for _, m := range regexp.MustCompile("`(--[a-z-]+)").FindAllStringSubmatch(string(readme), -1) {
		if !strings.Contains(help, m[1]) {
			t.Errorf("the README names %s, which the program does not know", m[1])
		}
	}
}

func help(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
