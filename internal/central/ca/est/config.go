package est

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca/settings"
)

// Config says where the EST server is, and as whom to call it.
type Config struct {
	// Server is the origin, such as https://est.example.com:8443.
	Server string
	// Label is the arbitrary label that chooses a CA of the server (RFC 7030, 3.2.2).
	Label string
	// ServerTrust are the only CAs that the server's TLS certificate may stand under.
	ServerTrust []*x509.Certificate
	// Client is the TLS client certificate; nil for none.
	Client *tls.Certificate
	// Username and Password are for HTTP basic; empty for none.
	Username, Password string
	// Roots are the trust anchors of what the CA issues.
	Roots []*x509.Certificate
	// Timeout bounds one HTTP exchange; 30 s if zero.
	Timeout time.Duration
	// Clock tells the time for Retry-After dates; nil means time.Now.
	Clock func() time.Time
}

// file is Config as it is written down.
type file struct {
	Server            string `json:"server"`
	Label             string `json:"label"`
	ServerTrust       string `json:"serverTrust"`
	ClientCertificate string `json:"clientCertificate"`
	ClientKey         string `json:"clientKey"`
	Username          string `json:"username"`
	PasswordFile      string `json:"passwordFile"`
	Roots             string `json:"roots"`
	TimeoutSeconds    *int   `json:"timeoutSeconds"`
}

// ReadConfig reads the settings and the files that they name. Its error tells all faults.
func ReadConfig(path string) (Config, error) {
	var in file
	f, err := settings.Read(path, &in)
	if err != nil {
		return Config{}, err
	}
	c := Config{Server: strings.TrimSuffix(in.Server, "/"), Label: in.Label, Username: in.Username}
	if f.Require("server", in.Server) {
		if fault := badOrigin(c.Server); fault != "" {
			f.Fault("server", "%s", fault)
		}
	}
	if fault := badLabel(in.Label); fault != "" {
		f.Fault("label", "%s", fault)
	}
	c.ServerTrust = f.CACertificates("serverTrust", in.ServerTrust)
	c.Roots = f.CACertificates("roots", in.Roots)
	switch {
	case in.ClientCertificate != "" && in.ClientKey != "":
		c.Client = f.KeyPair("clientCertificate", in.ClientCertificate, "clientKey", in.ClientKey)
	case in.ClientCertificate != "":
		f.Fault("clientKey", "is required beside clientCertificate")
	case in.ClientKey != "":
		f.Fault("clientCertificate", "is required beside clientKey")
	}
	switch {
	case in.Username != "" && in.PasswordFile != "":
		c.Password = f.Secret("passwordFile", in.PasswordFile)
	case in.Username != "":
		f.Fault("passwordFile", "is required beside username")
	case in.PasswordFile != "":
		f.Fault("username", "is required beside passwordFile")
	}
	if strings.ContainsRune(in.Username, ':') {
		f.Fault("username", "has a colon, which HTTP basic does not allow (RFC 7617, 2)")
	}
	if in.ClientCertificate == "" && in.ClientKey == "" && in.Username == "" && in.PasswordFile == "" {
		f.Fault("clientCertificate", "is required, or username: an EST server issues to nobody unknown")
	}
	// The server calls a CA for 60 s at most, in which there are two exchanges.
	c.Timeout = f.Seconds("timeoutSeconds", in.TimeoutSeconds, 25, 1, 29)
	return c, f.Err()
}

func badOrigin(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return "is not of the form https://host:port"
	case u.User != nil:
		return "holds a user name: use username and passwordFile"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "has a path: only https://host:port is wanted, /.well-known/est is added"
	}
	return ""
}

// badLabel keeps RFC 7030, 3.2.2: a label is one path segment, and not the name
// of an operation. Characters that would have to be escaped are left out.
func badLabel(s string) string {
	operations := []string{"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"}
	switch {
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" || s == "." || s == "..":
		return "is not one path segment of letters, digits, and -._~"
	case slices.Contains(operations, s):
		return "is the name of an EST operation"
	}
	return ""
}
