package stationload

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
)

// ErrSpent says that more units were claimed than there are requests.
var ErrSpent = errors.New("more units were claimed than requests were made")

// The sample order's.
const (
	product = "CERT272353"
	company = "示例客车配件有限公司"
	uscc    = "91000000MA0000001R"
	email   = "handler-1@example.com"
)

// Supply is what stations would make on their tokens, made before anything is measured:
// a request with a P-256 key of its own for every unit, and one envelope for all PINs.
type Supply struct {
	requests  [][]byte
	next      atomic.Int64
	sealed    []byte
	recipient string
}

// NewSupply makes n requests. sealed is a PIN's envelope, CMS EnvelopedData in DER, for
// the recipient with this SHA-256 (hexadecimal).
func NewSupply(n int, sealed []byte, recipient string) (*Supply, error) {
	s := &Supply{requests: make([][]byte, n), sealed: sealed, recipient: recipient}
	var subject []csr.Attribute
	for _, a := range [][2]string{{"C", "CN"}, {"O", company}, {"organizationIdentifier", "NTRCN-" + uscc}, {"CN", "经办人甲"}} {
		kind, err := csr.ParseAttributeType(a[0])
		if err != nil {
			return nil, err
		}
		subject = append(subject, csr.Attribute{Type: kind, Value: a[1]})
	}
	for i := range s.requests {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		if s.requests[i], err = csr.Build(key, csr.Request{Subject: subject, Emails: []string{email}}); err != nil {
			return nil, fmt.Errorf("make a request: %w", err)
		}
	}
	return s, nil
}

func (s *Supply) take() ([]byte, error) {
	n := s.next.Add(1)
	if n > int64(len(s.requests)) {
		return nil, ErrSpent
	}
	return s.requests[n-1], nil
}

// Order is the document of an order that the requests fit.
func Order(id string, quantity int, due time.Time) ([]byte, error) {
	address := email
	return json.Marshal(api.Order{
		OrderId: id, ProductCode: product, ValidityYears: 1, Quantity: quantity, DueAt: &due,
		Company: api.Company{Name: company, Uscc: uscc},
		Handler: api.OrderHandler{Name: "经办人甲", Email: &address},
		Shipping: api.Shipping{Carrier: "SF", FreightCollect: true,
			Recipient: api.Recipient{Name: "收件人乙", Phone: "000-0000-0000", Address: "示例省示例市示例路 1 号"}},
		Approval: api.Approval{ApprovedBy: "审核员丙", ApprovedAt: due.Add(-72 * time.Hour)},
	})
}
