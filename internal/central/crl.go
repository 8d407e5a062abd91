package central

import (
	"context"
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
	s.every(crlInterval, "revocation lists are not current", func(ctx context.Context) error {
		_, err := maker.CRLs(ctx)
		return err
	})
}
