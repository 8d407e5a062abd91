package central

import (
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// crlInterval is between looks whether the CA's revocation lists have become old.
const crlInterval = time.Hour

// crlLoop keeps the files with the CA's revocation lists current, also when
// nobody asks for one and nothing is revoked.
func (s *Server) crlLoop() {
	maker, ok := s.ca.(ca.CRLMaker)
	if !ok {
		return
	}
	tick := time.NewTicker(crlInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stopping.Done():
			return
		}
		if _, err := maker.CRLs(s.stopping); err != nil && s.stopping.Err() == nil {
			s.cfg.Logger.Error("revocation lists are not current", "error", err)
		}
	}
}
