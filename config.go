package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// file is a configuration file. It is a kong.Resolver that gives the values of
// flags which neither the command line nor the environment sets.
type file struct {
	path    string
	values  map[string]value // by the name of the flag
	streams []fileStream
	wrong   []misplaced
}

// misplaced is something wrong in the file.
type misplaced struct {
	line int
	text string
}

// value is a value as one would write it on the command line.
type value struct {
	text string
	line int
}

// fileStream is a stream of the file: keys of picture.
type fileStream struct {
	name   string
	line   int
	values map[string]value
}

var settingsType, pictureType = reflect.TypeFor[settings](), reflect.TypeFor[picture]()

// readFile reads a file and checks each key and value by itself. The error is
// that it cannot be read; what is wrong in it is kept.
func readFile(path string) (*file, error) {
	f := &file{path: path, values: map[string]value{}}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(b, &document); err != nil {
		return nil, fmt.Errorf("--config: %s is not YAML: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 {
		return f, nil // an empty file
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		f.refuse(root.Line, "the file must be a list of KEY: VALUE lines, such as fps: 30")
		return f, nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "streams" {
			f.readStreams(root.Content[i+1])
		}
	}
	f.values = f.read(root, settingsType, "streams")
	return f, nil
}

func (f *file) refuse(line int, format string, args ...any) {
	f.wrong = append(f.wrong, misplaced{line, fmt.Sprintf(format, args...)})
}

// told is what is wrong in the file in the order of its lines, with the places.
func (f *file) told() (list []string) {
	slices.SortStableFunc(f.wrong, func(a, b misplaced) int { return a.line - b.line })
	for _, w := range f.wrong {
		list = append(list, fmt.Sprintf("%s:%d: %s", f.path, w.line, w.text))
	}
	return list
}

var streamName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

func (f *file) readStreams(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		f.refuse(node.Line, "streams must name each stream: a line with NAME: and its keys indented below")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, keys := node.Content[i], node.Content[i+1]
		switch {
		case !streamName.MatchString(name.Value):
			f.refuse(name.Line, "%q is no name for a stream; use up to 64 of a-z 0-9 . _ -", name.Value)
		case name.Value == "desktop" || name.Value == "card":
			f.refuse(name.Line, "the stream %s exists always; choose another name", name.Value)
		case slices.ContainsFunc(f.streams, func(s fileStream) bool { return s.name == name.Value }):
			f.refuse(name.Line, "there are two streams named %s; rename one", name.Value)
		case keys.Kind != yaml.MappingNode:
			f.refuse(keys.Line, "the stream %s has no keys; say what differs from the desktop, such as target: monitor:NAME", name.Value)
		default:
			f.streams = append(f.streams, fileStream{name.Value, name.Line, f.read(keys, pictureType)})
		}
	}
}

// read reads the keys of a mapping, each the name of a flag in the struct of
// the given type.
func (f *file) read(node *yaml.Node, flags reflect.Type, except ...string) map[string]value {
	names := flagNames(flags)
	values := map[string]value{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, v := node.Content[i], node.Content[i+1]
		if slices.Contains(except, key.Value) {
			continue
		}
		if key.Value == "config" {
			f.refuse(key.Line, "a file cannot name another; write all into one")
			continue
		}
		if !slices.Contains(names, key.Value) {
			f.refuse(key.Line, "there is no setting %q%s", key.Value, suggest(key.Value, names))
			continue
		}
		if first, twice := values[key.Value]; twice {
			f.refuse(key.Line, "%s is set in line %d already; leave one out", key.Value, first.line)
			continue
		}
		text, ok := scalar(v, separator(flags, key.Value))
		if !ok {
			f.refuse(v.Line, "%s must be one value, or a list of values", key.Value)
			continue
		}
		if _, err := parse(flags, key.Value, text); err != nil {
			f.refuse(v.Line, "%v", err)
			continue
		}
		values[key.Value] = value{text, v.Line}
	}
	return values
}

// scalar is the text of a value, or of a list of them as the flag separates it.
func scalar(node *yaml.Node, separator rune) (string, bool) {
	switch node.Kind {
	case yaml.ScalarNode:
		return node.Value, node.Tag != "!!null"
	case yaml.SequenceNode:
		var parts []string
		for _, n := range node.Content {
			if n.Kind != yaml.ScalarNode {
				return "", false
			}
			parts = append(parts, n.Value)
		}
		return kong.JoinEscaped(parts, separator), len(parts) > 0
	}
	return "", false
}

// suggest names the flag that may have been meant.
func suggest(key string, names []string) string {
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	for _, n := range names {
		if a, b := plain(key), plain(n); a == b || a+"s" == b || a == b+"s" {
			return "; write " + n
		}
	}
	return "; the names are those of the flags, see deskwhep --help"
}

// flagParser makes a command line of the flags in a struct alone: no defaults from
// the environment.
func flagParser(target any) (*kong.Kong, error) {
	return kong.New(target, kong.Name("deskwhep"), vars(), kong.NoDefaultHelp(), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
}

// flagsOf are the flags in a struct, in the order of its fields.
func flagsOf(flags reflect.Type) []*kong.Flag {
	k, err := flagParser(reflect.New(flags).Interface())
	if err != nil {
		return nil
	}
	return k.Model.Flags
}

func flagNames(flags reflect.Type) (names []string) {
	for _, f := range flagsOf(flags) {
		names = append(names, f.Name)
	}
	return names
}

// separator is what stands between the values of a flag that has many.
func separator(flags reflect.Type, name string) rune {
	for _, f := range flagsOf(flags) {
		if f.Name == name {
			return f.Tag.Sep
		}
	}
	return ','
}

// parse reads one flag's value; it returns a struct of the given type with it.
func parse(flags reflect.Type, name, text string) (reflect.Value, error) {
	v := reflect.New(flags)
	k, err := flagParser(v.Interface())
	if err == nil {
		_, err = k.Parse([]string{"--" + name + "=" + text})
	}
	if err != nil {
		return v.Elem(), errors.New(strings.TrimPrefix(err.Error(), "--"))
	}
	return v.Elem(), nil
}

// Validate implements kong.Resolver.
func (f *file) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. The environment goes before the file.
func (f *file) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	selected := ctx.Selected()
	if selected == nil || !slices.ContainsFunc(selected.Flags, func(f *kong.Flag) bool { return f.Name == "config" }) {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	if v, ok := f.values[flag.Name]; ok {
		return v.text, nil
	}
	return nil, nil
}

// configPath finds --config before the command line is read.
func configPath(args []string) string {
	for i, a := range args {
		if path, ok := strings.CutPrefix(a, "--config="); ok {
			return path
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if a == "--" {
			break
		}
	}
	return os.Getenv("DESKWHEP_CONFIG")
}

// stream is a stream by its name.
type stream struct {
	name    string
	picture picture
}

// resolve checks all settings together and gives the streams: the desktop, the
// card and those of the file. The error tells all that is wrong, each with its
// place.
func (s *settings) resolve(k *kong.Context, f *file) ([]stream, error) {
	var wrong []string
	for _, w := range s.check() {
		if line := f.line(k, w.flag); line > 0 {
			f.refuse(line, "%s: %s", w.flag, w.text)
		} else {
			at := "--" + w.flag
			if name := fromEnvironment(k, w.flag); name != "" && !onCommandLine(k, w.flag) {
				at = "$" + name
			}
			wrong = append(wrong, at+": "+w.text)
		}
	}
	card := s.Picture
	card.Source, card.Target = "card", "desktop"
	streams := []stream{{"desktop", s.Picture}, {"card", card}}
	if f != nil {
		for _, more := range f.streams {
			p, list := more.over(s.Picture)
			for _, w := range list {
				line, key := more.line, ""
				if v, own := more.values[w.flag]; own {
					line = v.line
				} else {
					key = " (as for the desktop)"
				}
				f.refuse(line, "stream %s: %s%s: %s", more.name, w.flag, key, w.text)
			}
			streams = append(streams, stream{more.name, p})
		}
		wrong = append(wrong, f.told()...)
	}
	return streams, several(wrong)
}

// over is the stream's picture: the desktop's, but for its own keys. What is
// wrong with the desktop's is told there.
func (s *fileStream) over(desktop picture) (picture, []finding) {
	p := desktop
	to := reflect.ValueOf(&p).Elem()
	for name, v := range s.values {
		from, err := parse(to.Type(), name, v.text)
		if err != nil { // it has been parsed before
			return p, []finding{{name, err.Error()}}
		}
		for i, field := range flagNames(to.Type()) {
			if field == name {
				to.Field(i).Set(from.Field(i))
			}
		}
	}
	known := desktop.check()
	return p, slices.DeleteFunc(p.check(), func(w finding) bool {
		_, own := s.values[w.flag]
		return !own && slices.Contains(known, w)
	})
}

// line is the line of the file that a flag got its value from; 0 for another
// place.
func (f *file) line(k *kong.Context, flag string) int {
	if f == nil || onCommandLine(k, flag) || fromEnvironment(k, flag) != "" {
		return 0
	}
	return f.values[flag].line
}

func onCommandLine(k *kong.Context, flag string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag && !p.Resolved })
}

// fromEnvironment is the variable that sets a flag; empty if none does.
func fromEnvironment(k *kong.Context, flag string) string {
	for _, known := range k.Flags() {
		for _, name := range known.Envs {
			if _, set := os.LookupEnv(name); set && known.Name == flag {
				return name
			}
		}
	}
	return ""
}
