package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConsole(t *testing.T) {
	on := func(change func(*Console)) Console {
		c := defaultStation().Console
		c.Port, c.Roles.Writer.Groups, c.Roles.Auditor.Users = 8470, []string{"key-writers"}, []string{"auditor.a", "b@example.com"}
		change(&c)
		return c
	}
	for _, row := range []struct {
		name    string
		console Console
		field   string // "": valid
	}{
		{"off", defaultStation().Console, ""},
		{"on", on(func(*Console) {}), ""},
		{"lowest port", on(func(c *Console) { c.Port = 1024 }), ""},
		{"highest port", on(func(c *Console) { c.Port = 65535 }), ""},
		{"roles without a port", on(func(c *Console) { c.Port = 0 }), "console.port"},
		{"a port of the system's", on(func(c *Console) { c.Port = 1023 }), "console.port"},
		{"no such port", on(func(c *Console) { c.Port = 65536 }), "console.port"},
		{"negative port", on(func(c *Console) { c.Port = -1 }), "console.port"},
		{"nobody", on(func(c *Console) { c.Roles = Roles{} }), "console.roles"},
		{"socket relative", on(func(c *Console) { c.Socket = "console.sock" }), "console.socket"},
		{"socket of 107 bytes", on(func(c *Console) { c.Socket = "/" + strings.Repeat("a", 106) }), ""},
		{"socket of 108 bytes", on(func(c *Console) { c.Socket = "/" + strings.Repeat("a", 107) }), "console.socket"},
		{"never locks", on(func(c *Console) { c.LockAfter = 0 }), "console.lockAfter"},
		{"locks after a day", on(func(c *Console) { c.LockAfter = 24 * time.Hour }), "console.lockAfter"},
		{"empty group", on(func(c *Console) { c.Roles.Packer.Groups = []string{""} }), "console.roles.packer.groups[0]"},
		{"user twice", on(func(c *Console) { c.Roles.Mailer.Users = []string{"a", "a"} }), "console.roles.mailer.users[1]"},
		{"user with a blank", on(func(c *Console) { c.Roles.Supervisor.Users = []string{"a b"} }), "console.roles.supervisor.users[0]"},
		{"user like an option", on(func(c *Console) { c.Roles.Writer.Users = []string{"-a"} }), "console.roles.writer.users[0]"},
		{"a person's name", on(func(c *Console) { c.Roles.Auditor.Users[1] = "经办人甲" }), "console.roles.auditor.users[1]"},
		{"65 characters", on(func(c *Console) { c.Roles.Writer.Users = []string{strings.Repeat("a", 65)} }), "console.roles.writer.users[0]"},
	} {
		s := parsed(t)
		s.Console = row.console
		err := s.Validate()
		var field *FieldError
		if got := errors.As(err, &field); got != (row.field != "") || got && field.Field != row.field {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestConsoleDecoded: what is not given keeps its default.
func TestConsoleDecoded(t *testing.T) {
	dir, text := station(t)
	s, err := Parse([]byte(text+"console:\n  port: 8470\n  roles:\n    writer: {groups: [key-writers]}\n"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Console; c.Port != 8470 || c.Socket != DefaultConsoleSocket || c.LockAfter != 15*time.Minute || len(c.Roles.Writer.Groups) != 1 {
		t.Errorf("%+v", c)
	}
	if _, err := Parse([]byte(text+"console: {port: 8470, address: 0.0.0.0}\n"), dir); !errors.Is(err, ErrSyntax) {
		t.Errorf("an address to listen on: %v", err)
	}
}
