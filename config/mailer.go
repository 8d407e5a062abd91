package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// mailer looks at the settings of PIN mailers, of a station that prints any.
func (v *validator) mailer(m Mailer) {
	v.check("mailer.printer", checkQueue(m.Printer))
	if !filepath.IsAbs(m.Server) && !loopback(m.Server) {
		v.fault("mailer.server", "the path of CUPS's socket, or a loopback address with its port, is wanted: PINs do not leave this machine before they are on paper")
	}
	if !filepath.IsAbs(m.Spool) {
		v.fault("mailer.spool", "an absolute path is wanted")
	}
	v.check("mailer.font", checkModule(m.Font)) // a file, as a module is
	v.oneOf("mailer.language", m.Language, Languages())
	v.duration("mailer.patience", m.Patience, 5*time.Second, 10*time.Minute)
}

// checkQueue takes what CUPS takes for a queue's name, and what means nothing in a URL.
func checkQueue(name string) error {
	bad := strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
	if name == "" || len(name) > 127 || bad || name[0] == '-' {
		return fmt.Errorf("the name of a queue is needed: 1 to 127 of A-Z, a-z, 0-9, - and _, as lpstat -e prints it")
	}
	return nil
}

func loopback(address string) bool {
	host, port, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && port != "" && ip != nil && ip.IsLoopback()
}
