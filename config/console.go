package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultConsoleSocket is where usbkeyd console asks for a link when it is not told otherwise.
const DefaultConsoleSocket = "/run/usbkeyd/console.sock"

// Console is the operator's page; it is off without a port.
type Console struct {
	// Port is where it is served, on 127.0.0.1 and ::1 only; 0 for off.
	Port int `yaml:"port"`
	// Socket is the Unix socket at which accounts of this machine ask for a link; absolute.
	Socket string `yaml:"socket"`
	// LockAfter is how long nobody may have touched the page before it locks.
	LockAfter time.Duration `yaml:"lockAfter"`
	// Roles says which accounts may do what.
	Roles Roles `yaml:"roles"`
}

// Roles are those of the operator's page.
type Roles struct {
	Writer     Accounts `yaml:"writer"`
	Packer     Accounts `yaml:"packer"`
	Mailer     Accounts `yaml:"mailer"`
	Supervisor Accounts `yaml:"supervisor"`
	Auditor    Accounts `yaml:"auditor"`
}

// Accounts are users and groups of the operating system, by name.
type Accounts struct {
	Users  []string `yaml:"users"`
	Groups []string `yaml:"groups"`
}

// Each calls f with every role's name, as it is in the file, and its accounts.
func (r Roles) Each(f func(role string, a Accounts)) {
	f("writer", r.Writer)
	f("packer", r.Packer)
	f("mailer", r.Mailer)
	f("supervisor", r.Supervisor)
	f("auditor", r.Auditor)
}

// maxSocket is the longest path that a Unix socket can have (unix(7), sun_path).
const maxSocket = 107

// console looks at the settings of the operator's page.
func (v *validator) console(c Console) {
	accounts := 0
	c.Roles.Each(func(role string, a Accounts) {
		accounts += len(a.Users) + len(a.Groups)
		v.accounts("console.roles."+role+".users", a.Users)
		v.accounts("console.roles."+role+".groups", a.Groups)
	})
	if c.Port == 0 && accounts == 0 {
		return // off
	}
	if c.Port < 1024 || c.Port > 65535 {
		v.fault("console.port", "%d is not between 1024 and 65535", c.Port)
	}
	if accounts == 0 {
		v.fault("console.roles", "nobody could open the page: at least one user or group is needed")
	}
	if !filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocket {
		v.fault("console.socket", "an absolute path of up to %d bytes is wanted", maxSocket)
	}
	v.duration("console.lockAfter", c.LockAfter, time.Minute, 8*time.Hour)
}

// accounts takes what user names and group names look like in practice, and what the
// central server takes for a person's id.
func (v *validator) accounts(field string, names []string) {
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		bad := strings.ContainsFunc(name, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._@-", c)
		})
		switch {
		case name == "" || len(name) > 64 || bad || strings.ContainsRune("._@-", rune(name[0])):
			v.fault(at, "the name of an account is wanted: 1 to 64 of A-Z, a-z, 0-9, . _ @ and -, beginning with a letter or digit")
		case slices.Contains(names[:i], name):
			v.fault(at, "given twice: leave one out")
		}
	}
}
