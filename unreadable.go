package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// unreadable makes one error of all values of settings that cannot be read, on
// the command line, in the environment and in the file, where the parser stops
// at the first. That one is told as it is when it is of another kind.
func unreadable(model *kong.Application, args []string, f *file, first error) error {
	var wrong []string
	names := flagNames(settingsType)
	try := func(place, name, text string) {
		if _, err := parse(settingsType, name, text); err != nil {
			wrong = append(wrong, place+": "+strings.TrimLeft(strings.TrimPrefix(err.Error(), name), ": "))
		}
	}
	for i, arg := range args {
		name, text, joined := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !strings.HasPrefix(arg, "--") || !slices.Contains(names, name) {
			continue
		}
		if !joined && (isSwitch(name) || i+1 == len(args)) {
			continue // a switch has no value
		} else if !joined {
			text = args[i+1]
		}
		try("--"+name, name, text)
	}
	for _, flag := range serveFlags(model) {
		for _, variable := range flag.Envs {
			if text, set := os.LookupEnv(variable); set && text != "" && slices.Contains(names, flag.Name) {
				try("$"+variable, flag.Name, text)
			}
		}
	}
	if f != nil {
		wrong = append(wrong, f.told()...)
	}
	if len(wrong) < 2 {
		return fmt.Errorf("%w; see deskwhep --help", first)
	}
	return several(wrong)
}

// several makes an error of all that is wrong.
func several(wrong []string) error {
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return errors.New(wrong[0])
	}
	return fmt.Errorf("%d settings are wrong:\n  %s", len(wrong), strings.Join(wrong, "\n  "))
}

func isSwitch(name string) bool {
	return slices.ContainsFunc(flagsOf(settingsType), func(f *kong.Flag) bool { return f.Name == name && f.IsBool() })
}

// serveFlags are the flags of the command that serves.
func serveFlags(model *kong.Application) []*kong.Flag {
	for _, command := range model.Children {
		if command.Name == "serve" {
			return command.Flags
		}
	}
	return nil
}
