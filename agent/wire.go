package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// newDecoder decodes an answer. Unknown fields are allowed: a newer server may say more.
func newDecoder(r io.Reader) *json.Decoder { return json.NewDecoder(r) }

// subjectOf turns a lease into the data that a product's templates are filled from.
func subjectOf(l api.Lease) csr.SubjectData {
	d := csr.SubjectData{
		OrderID: l.OrderId, UnitID: l.UnitId, Sequence: l.Sequence, Of: l.Of, ProductCode: l.ProductCode,
	}
	d.Company.Name, d.Company.USCC = l.Company.Name, l.Company.Uscc
	d.Handler.Name = l.Handler.Name
	if l.Handler.Email != nil {
		d.Handler.Email = *l.Handler.Email
	}
	return d
}

// jobOf turns a lease off the wire into a job, once, and checks it: what a server
// says is not taken on trust. label is the product's template.
func jobOf(l api.Lease, label *csr.Text, now time.Time) (provision.Job, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if l.Kind != api.Initial {
		bad("kind %q is unknown here", l.Kind)
	}
	if l.UnitId == "" || l.OrderId == "" || l.UnitId != fmt.Sprintf("%s-%03d", l.OrderId, l.Sequence) {
		bad("unit id %q does not belong to order %q, sequence %d", l.UnitId, l.OrderId, l.Sequence)
	}
	if l.Epoch < 1 || l.Generation < 1 {
		bad("epoch %d, generation %d: want at least 1", l.Epoch, l.Generation)
	}
	if l.Sequence < 1 || l.Sequence > l.Of {
		bad("sequence %d of %d", l.Sequence, l.Of)
	}
	if l.ValidityYears < 1 || l.ValidityYears > 10 {
		bad("validity of %d years: want 1 to 10", l.ValidityYears)
	}
	if l.LeaseSeconds < 1 {
		bad("lease of %d seconds", l.LeaseSeconds)
	}
	job := provision.Job{
		Kind: provision.KindInitial, Subject: subjectOf(l), Generation: int(l.Generation),
		ValidityYears: l.ValidityYears, CreatedAt: now,
	}
	to := l.Shipping.Recipient
	job.Carrier, job.FreightCollect = l.Shipping.Carrier, l.Shipping.FreightCollect
	job.Recipient = provision.Recipient{Name: to.Name, Phone: to.Phone, Address: to.Address}
	if l.DueAt != nil {
		job.DueAt = *l.DueAt
	}
	job.Urgent = l.Urgent != nil && *l.Urgent
	text, err := label.Render(job.Subject)
	if err != nil {
		errs = append(errs, fmt.Errorf("token label: %w", err))
	} else if job.TokenLabel = pkcs11.TokenLabel(text); job.TokenLabel.Validate() != nil {
		errs = append(errs, job.TokenLabel.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return provision.Job{}, fmt.Errorf("lease of unit %q cannot be used: %w", l.UnitId, err)
	}
	return job, nil
}
