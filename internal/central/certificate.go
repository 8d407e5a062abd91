package central

import (
	"bytes"
	"context"
	"path/filepath"
	"time"
)

// certificateInterval is between looks whether the server's own certificate has become old.
const certificateInterval = time.Hour

// certificateLoop renews the certificate of a server that is not started again for a year.
func (s *Server) certificateLoop() {
	s.every(certificateInterval, "the server's own certificate is old", func(context.Context) error { return s.RenewCertificate() })
}

// RenewCertificate does at once what otherwise happens at the start and every hour: a server
// certificate that does not serve much longer is replaced. New connections are shown the
// new one.
func (s *Server) RenewCertificate() error {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, s.cfg.ServerNames...)
	cert, err := s.stationRoot.ServerCertificate(filepath.Join(s.cfg.DataDir, "tls"), names)
	if err != nil {
		return err
	}
	before := s.certificate.Swap(&cert)
	if before != nil && !bytes.Equal(before.Certificate[0], cert.Certificate[0]) {
		s.cfg.Logger.Info("the server has a new certificate of its own", "notAfter", cert.Leaf.NotAfter)
	}
	return nil
}
