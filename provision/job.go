package provision

import (
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Kind is what is to be done with a token.
type Kind string

// KindInitial makes the first key and certificate on a blank token (初购).
const KindInitial Kind = "initial"

// Job is one unit leased by this station. It never changes once it is journalled;
// what happens to it is in its Record.
type Job struct {
	// ID is "<unit>-g<generation>-<attempt>", unique at this station.
	ID            string
	Kind          Kind
	Subject       csr.SubjectData
	Generation    int
	ValidityYears int
	DueAt         time.Time
	// Urgent says that the order went before others when the unit was leased.
	Urgent bool `json:",omitempty"`
	// TokenLabel is rendered from the product's template.
	TokenLabel pkcs11.TokenLabel
	// Recipient is who the finished key goes to; its letter with the PIN goes there too.
	Recipient Recipient
	// Carrier brings it, SF being 顺丰; FreightCollect says that the recipient pays (到付). Jobs
	// that were journalled before labels were printed have neither.
	Carrier        string `json:",omitempty"`
	FreightCollect bool   `json:",omitempty"`
	// OneAtATime says that the label comes when the token is pulled, and must be stuck on
	// before another is.
	OneAtATime bool `json:",omitempty"`
	CreatedAt  time.Time
}

// UnitID names the unit.
func (j Job) UnitID() string { return j.Subject.UnitID }

// Recipient is who gets what the order brings (收件人).
type Recipient struct {
	Name    string `json:",omitempty"`
	Phone   string `json:",omitempty"`
	Address string `json:",omitempty"`
}

// numbers are those that who knows the order knows, so that no PIN may be made of them.
func (j Job) numbers() []string {
	return []string{j.Subject.UnitID, j.Subject.Company.USCC, j.Recipient.Phone}
}

// JobID makes the id of the n-th attempt (from 1) of this station at a unit's generation.
func JobID(unitID string, generation, attempt int) string {
	return fmt.Sprintf("%s-g%d-%d", unitID, generation, attempt)
}

// Product is what a product code asks of a key and its certificate.
type Product struct {
	Code      string
	Algorithm pkcs11.Algorithm
	Profile   *csr.CompiledProfile
	UserPIN   PINPolicy
	Delivery  Delivery
	// FirstPIN is the user PIN that every token of the product leaves with where its
	// holder has to change it first (DeliverFirstUse). It is no secret.
	FirstPIN string
}

// Delivery is how a user PIN gets to the token's holder.
type Delivery string

// Deliveries.
const (
	// DeliverSealed: in an envelope for a mail house, so that nobody here sees it; also "".
	DeliverSealed Delivery = "sealed"
	// DeliverMailer: in a letter that is printed at the station.
	DeliverMailer Delivery = "mailer"
	// DeliverFirstUse: the token leaves with a PIN that everybody knows, and has its
	// holder change it before anything else.
	DeliverFirstUse Delivery = "change-at-first-use"
)

// TokenRef says which token a job writes: the module instance, and the token's
// identity in it. Before C_InitToken the identity is a slot description, after it a
// serial; of a model whose serials are all the same, it is both all the time.
type TokenRef struct {
	Module   string
	Identity pkcs11.Identity
	Model    string
}

// Facts is what a job has found out and chosen so far, all of it durable before
// anything outside depends on it. PINs are in it only as boxes of the Vault and as
// envelopes for their recipients.
type Facts struct {
	// Compacted says that only what must not be forgotten is left of the job, see
	// Journal.Compact.
	Compacted bool `json:",omitempty"`

	// AsMade says that the token's model is not initialised by C_InitToken, see
	// TokenProfile.AsMade.
	AsMade bool `json:",omitempty"`
	// MadeLabel is the label that such a token has from its maker, and keeps.
	MadeLabel pkcs11.TokenLabel `json:",omitempty"`
	// DeliveredAs is the serial under which the token is on the list of delivered tokens; ""
	// where it is not there, which Runner.DeliveredOnly does not let pass.
	DeliveredAs pkcs11.TokenSerial `json:",omitempty"`
	// Touched is set before the first write to the token.
	Touched bool `json:",omitempty"`
	// FactoryTried is set before the factory SO PIN of the profile Lot is tried, which
	// happens once for a token; Factory says that it opened the token.
	FactoryTried   bool      `json:",omitempty"`
	FactoryTriedAt time.Time `json:",omitzero"` // zero in older journals
	// Blank says that such a token came uninitialised all the same (openCryptoki).
	Blank   bool   `json:",omitempty"`
	Factory bool   `json:",omitempty"`
	Lot     string `json:",omitempty"`

	// SettingSOPIN and SettingUserPIN are set when C_SetPIN is about to replace a factory's
	// PIN, FactoryUserTries before each try of the factory's user PIN until it opens.
	SettingSOPIN     bool `json:",omitempty"`
	SettingUserPIN   bool `json:",omitempty"`
	FactoryUserTries int  `json:",omitempty"`

	// Delivery is how the user PIN gets to the token's holder; "" as DeliverSealed.
	Delivery Delivery `json:",omitempty"`

	EscrowID          string   `json:",omitempty"`
	SOPINBox          []byte   `json:",omitempty"`
	UserPINBox        []byte   `json:",omitempty"`
	SOPINEnvelope     []byte   `json:",omitempty"`
	UserPINEnvelope   []byte   `json:",omitempty"`
	SOPINRecipients   []string `json:",omitempty"` // SHA-256 of certificates, hexadecimal
	UserPINRecipients []string `json:",omitempty"`

	// Letters are the sheets that were printed for the user PIN, or are about to be.
	Letters []Letter `json:",omitempty"`

	KeyID     pkcs11.KeyID `json:",omitempty"`
	PublicKey []byte       `json:",omitempty"` // DER SubjectPublicKeyInfo
	// Attestation is the statement of the token's maker about the key, in words.
	Attestation string `json:",omitempty"`
	CSR         []byte `json:",omitempty"` // DER
	// Bound is set before the request is first sent: from then on the unit's key is this one.
	Bound bool `json:",omitempty"`

	// Withdrawn is set when the order was cancelled: what there is of a key is destroyed.
	Withdrawn bool `json:",omitempty"`

	// Decision is what was decided about the token once it was in quarantine; nil for nothing.
	Decision *Decision `json:",omitempty"`

	Bundle            []byte `json:",omitempty"` // certs-only PKCS#7, DER
	CertificateSerial string `json:",omitempty"` // hexadecimal
	CertificateSHA256 string `json:",omitempty"`
	// Claims are what the module said of the private key's attributes, by their names.
	Claims map[string]string `json:",omitempty"`
	// Possession was proved once the certificate was on the token.
	Possession *Possession `json:",omitempty"`
	// CertificateSubject is for people.
	CertificateSubject string `json:",omitempty"`
}

// FactoryInVain reports that a try of the factory SO PIN was begun, and is not known to
// have opened the token.
func (f Facts) FactoryInVain() bool { return f.FactoryTried && !f.Factory }

// Record is a job with everything that the journal knows of it.
type Record struct {
	Job   Job
	State State
	// Step is the step to go on with; its intent is journalled.
	Step  StepName
	Epoch int64
	Token TokenRef
	Facts Facts
	// Reason says in words why the job is parked, failed or quarantined; Hint what a person does next.
	Reason string
	Hint   string
	// Waiting says what a parked job waits for.
	Waiting Waiting
	// Busy is the time spent working on the token.
	Busy      time.Duration
	UpdatedAt time.Time
}

// TokenLabel is the label under which the finished token is found.
func (r *Record) TokenLabel() pkcs11.TokenLabel {
	if r.Facts.AsMade {
		return r.Facts.MadeLabel
	}
	return r.Job.TokenLabel
}

// ReportKind is what is told to the central server about a job that ended.
type ReportKind string

// Report kinds.
const (
	// ReportResult goes to the unit's generation once a key was bound.
	ReportResult ReportKind = "result"
	// ReportRelease gives an unbound unit back.
	ReportRelease ReportKind = "release"
	// ReportMailer tells who has seen the letter with the user PIN.
	ReportMailer ReportKind = "mailer"
	// ReportShipment tells that the unit's token is in a parcel that was closed.
	ReportShipment ReportKind = "shipment"
)

// Outcome is how a bound unit ended.
type Outcome string

// Outcomes.
const (
	OutcomeInstalled          Outcome = "installed"
	OutcomeFaulty             Outcome = "faulty"
	OutcomeDestroyed          Outcome = "destroyed" // the key is gone
	OutcomeRefusedCertificate Outcome = "refused-certificate"
)

// ReleaseReason is why an unbound unit is given back.
type ReleaseReason string

// Release reasons.
const (
	ReleaseTokenFaulty   ReleaseReason = "token-faulty"
	ReleaseOrderUnusable ReleaseReason = "order-unusable"
)

// Report is one line of the outbox: what became of a job, written in the same
// transaction as the job's last state.
type Report struct {
	ID         int64 // position in the outbox; the reports of a unit are sent in this order
	JobID      string
	Kind       ReportKind
	UnitID     string
	Generation int
	Epoch      int64

	Outcome Outcome       `json:",omitempty"`
	Release ReleaseReason `json:",omitempty"`
	Reason  string        `json:",omitempty"`

	TokenSerial       pkcs11.TokenSerial `json:",omitempty"`
	TokenLabel        pkcs11.TokenLabel  `json:",omitempty"`
	KeyID             pkcs11.KeyID       `json:",omitempty"`
	CertificateSerial string             `json:",omitempty"`
	CertificateSHA256 string             `json:",omitempty"`
	EscrowID          string             `json:",omitempty"`
	Delivery          Delivery           `json:",omitempty"`
	UserPINEnvelope   []byte             `json:",omitempty"`
	UserPINRecipients []string           `json:",omitempty"`
	Busy              time.Duration      `json:",omitempty"`

	ConfirmedBy string `json:",omitempty"`

	// Scans are the serials of all tokens in the parcel.
	Waybill  string   `json:",omitempty"`
	Scans    []string `json:",omitempty"`
	PackedBy string   `json:",omitempty"`
}
