package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// retainInterval is between looks for what has been kept long enough.
const retainInterval = time.Hour

// removed stands where personal data were.
const removed = "-"

// retainLoop removes personal data and old claims: once at the start, then regularly.
func (s *Server) retainLoop() {
	keep := func(ctx context.Context) error {
		return errors.Join(s.RemovePersonalData(ctx), s.store.ForgetClaims(ctx))
	}
	const failed = "what was kept long enough is still here"
	s.try(failed, keep)
	s.every(retainInterval, failed, keep)
}

// RemovePersonalData does at once what otherwise happens every hour: orders that were
// done with RetainDays ago lose the names, addresses and numbers of persons. Without
// RetainDays it does nothing.
func (s *Server) RemovePersonalData(ctx context.Context) error {
	if s.cfg.RetainDays == 0 {
		return nil
	}
	n, err := s.store.ClearPersonalData(ctx, time.Duration(s.cfg.RetainDays)*24*time.Hour, store.Reader{Clean: withoutPersons, Issuer: issuerIn})
	if n > 0 {
		s.cfg.Logger.Info("personal data removed", "orders", n)
	}
	return err
}

// withoutPersons is an order's document without its persons. The company stays: it
// is no person.
func withoutPersons(content []byte) ([]byte, error) {
	var o api.Order
	if err := json.Unmarshal(content, &o); err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	o.Handler = api.OrderHandler{Name: removed}
	o.Shipping.Recipient = api.Recipient{Name: removed, Phone: removed, Address: removed}
	o.Approval.ApprovedBy = removed
	return json.Marshal(o)
}

// issuerIn is the DER of the name that issued one of the certificates of a CA's answer.
func issuerIn(pkcs7 []byte, sha256 string) ([]byte, error) {
	leaf, err := leafOf(pkcs7, sha256)
	if err != nil {
		return nil, err
	}
	return leaf.RawIssuer, nil
}
