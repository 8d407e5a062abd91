package config

import "time"

// Station is the whole configuration of one issuing workstation. Paths are
// absolute after Parse.
type Station struct {
	// Name is the station's name, [a-z0-9-], 1 to 63 characters.
	Name string `yaml:"station"`
	// StateDir is where journal, outbox and keys of the daemon live; absolute.
	StateDir string   `yaml:"stateDir"`
	Central  Central  `yaml:"central"`
	Identity Identity `yaml:"identity"`
	// Recipients are who PINs may be sealed to.
	Recipients Recipients `yaml:"recipients"`
	// CertificateTrust is a PEM file with the roots of the customers' CA.
	CertificateTrust string   `yaml:"certificateTrust"`
	Modules          []Module `yaml:"modules"`
	// TokenProfiles are tried in order, the built-in ones last.
	TokenProfiles []TokenProfile `yaml:"tokenProfiles"`
	Products      []Product      `yaml:"products"`
	// Mailer is how PIN mailers are printed, for products that are delivered so.
	Mailer Mailer `yaml:"mailer"`
	// Console is the operator's page.
	Console Console `yaml:"console"`
	// Stock is what is made of the list of delivered tokens.
	Stock Stock `yaml:"stock"`
	// Packing is how finished keys are put into parcels.
	Packing Packing `yaml:"packing"`
	// Labels is how the labels of finished keys are printed.
	Labels Labels `yaml:"labels"`
	// Metrics is where programs of this machine look at the station.
	Metrics Metrics `yaml:"metrics"`
	// Journal is what is kept of what was done.
	Journal Journal `yaml:"journal"`
}

// Journal is what the station keeps of what was done.
type Journal struct {
	// Keep is how long all of a job that is done with is kept; 0 for ever.
	Keep time.Duration `yaml:"keep"`
}

// Metrics is where programs of this machine look at the station; it is off without a port.
type Metrics struct {
	// Port is where it is served, on 127.0.0.1 and ::1 only; 0 for off.
	Port int `yaml:"port"`
}

// Stock is what is made of the list of delivered tokens.
type Stock struct {
	// DeliveredOnly says that a token is written only when it is on the list.
	DeliveredOnly bool `yaml:"deliveredOnly"`
}

// Packing is how finished keys are put into parcels.
type Packing struct {
	// Waybills are regular expressions, each of which fits the whole number of a carrier's paper.
	Waybills []string `yaml:"waybills"`
	// Verify is one of Verifications.
	Verify string `yaml:"verify"`
}

// Mailer is how PIN mailers are printed.
type Mailer struct {
	// Printer is the name of a queue of CUPS.
	Printer string `yaml:"printer"`
	// Server is where CUPS listens on this machine: an absolute path, or a loopback address with its port.
	Server string `yaml:"server"`
	// Spool is CUPS's RequestRoot, which must be in memory; absolute.
	Spool string `yaml:"spool"`
	// Font is a TrueType font with every character that a recipient may have.
	Font string `yaml:"font"`
	// Language is one of Languages.
	Language string `yaml:"language"`
	// Patience is how long a sheet may take.
	Patience time.Duration `yaml:"patience"`
}

// Central is how the central server is reached.
type Central struct {
	// URLs are tried in turn; https only.
	URLs []string `yaml:"urls"`
	// Trust is a PEM file with the roots of the server's TLS certificate.
	Trust string `yaml:"trust"`
	// Certificate and Key are the station's own. They appear when it enrols, see Enrolled.
	// Key counts in the tier file only.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Identity is where the station's key is, and to what the journal's key is sealed.
type Identity struct {
	// Tier is TierTPM, or TierFile: the lower one.
	Tier string `yaml:"tier"`
	// Device is the TPM: a path, "unix:" and the path of a software TPM's socket, "tbs" on
	// Windows; "" for the system's own.
	Device string `yaml:"device"`
	// PCRs bind the journal's key to these registers of the machine's measured start.
	PCRs []int `yaml:"pcrs"`
	// Recovery are PEM files with one certificate each: who may open the copy of the
	// journal's key when the TPM does not open its own any more.
	Recovery []string `yaml:"recovery"`
}

// Tiers of a station's identity.
const (
	TierTPM  = "tpm"
	TierFile = "file"
)

// Recipients lists the SHA-256 of certificates (64 lower-case hexadecimal digits
// after Parse) that PINs may be sealed to.
type Recipients struct {
	UserPIN []string `yaml:"userPin"`
	SOPIN   []string `yaml:"soPin"`
}

// Module is one PKCS#11 module, to be loaded in a process of its own.
type Module struct {
	// Name is unique on the station, [a-z0-9-].
	Name string `yaml:"name"`
	// Path is the shared library; absolute.
	Path string `yaml:"path"`
	// Env are variables of the module's process, from AllowedEnvironment.
	Env map[string]string `yaml:"env"`
	// Tokens is how many tokens are written in this module at most; further
	// blank slots are left alone (SoftHSM always shows one more).
	Tokens int `yaml:"tokens"`
	// Trust says whose file the module may be: "root", or "owner" for the daemon's own user as well.
	Trust string `yaml:"trust"`
	// SHA256 pins the file's content (64 lower-case hexadecimal digits); "" for any.
	SHA256 string `yaml:"sha256"`
	// Reserved is given to C_Initialize as pReserved, for modules that want a text there (NSS).
	Reserved string `yaml:"reserved"`
}

// TokenProfile is what one model of token needs.
type TokenProfile struct {
	Name  string `yaml:"name"`
	Match Match  `yaml:"match"`
	// SOPIN is how new SO PINs are made.
	SOPIN PINPolicy `yaml:"soPin"`
	// FactorySOPINFile holds the SO PIN that tokens come with; "" when they come uninitialised.
	FactorySOPINFile string    `yaml:"factorySoPinFile"`
	Deadlines        Deadlines `yaml:"deadlines"`
	// OmitAttributes are CKA_ names left out of key templates.
	OmitAttributes []string `yaml:"omitAttributes"`
	// Identity is what tells tokens of the model apart: one of Identities.
	Identity string `yaml:"identity"`
	// Initialise says whether C_InitToken is called.
	Initialise bool `yaml:"initialise"`
	// UserPIN is how the user PIN is set: one of UserPINWays.
	UserPIN string `yaml:"userPin"`
	// FactoryUserPINFile holds the user PIN that tokens come with, where it is changed.
	FactoryUserPINFile string `yaml:"factoryUserPinFile"`
	// SOPINUncounted says that wrong SO PINs cost nothing on the model.
	SOPINUncounted bool `yaml:"soPinUncounted"`
	// KeyLogin is who makes keys and writes certificates: one of KeyLogins.
	KeyLogin string `yaml:"keyLogin"`
	// KeyID is the CKA_ID of the key (hexadecimal) where the model has its own, CAKeyIDs
	// those of CA certificates.
	KeyID    string   `yaml:"keyId"`
	CAKeyIDs []string `yaml:"caKeyIds"`
	// ForcesPINChange says that the token has its holder change a user PIN that the SO has set.
	ForcesPINChange bool `yaml:"forcesPinChange"`
	// OwnLabels are the CKA_LABELs, with * for any text, of objects that the model itself shows.
	OwnLabels []string `yaml:"ownLabels"`
	// AttestationTrust is a PEM file with the roots of the maker's attestation
	// certificates; "" leaves attestation unread.
	AttestationTrust string `yaml:"attestationTrust"`

	// WellKnownSOPIN and WellKnownUserPIN are the published factory PINs of a built-in
	// profile; a file takes their place.
	WellKnownSOPIN, WellKnownUserPIN string `yaml:"-"`
}

// HasFactorySOPIN reports whether tokens of the model come with an SO PIN that is known.
func (t TokenProfile) HasFactorySOPIN() bool {
	return t.FactorySOPINFile != "" || t.WellKnownSOPIN != ""
}

// Match selects tokens by CK_TOKEN_INFO, blanks trimmed: the exact text, or a
// beginning followed by one "*".
type Match struct {
	Manufacturer string `yaml:"manufacturer"`
	Model        string `yaml:"model"`
}

// Deadlines bound calls into the module.
type Deadlines struct {
	KeyGeneration time.Duration `yaml:"keyGeneration"`
	Init          time.Duration `yaml:"init"`
	Call          time.Duration `yaml:"call"`
}

// PINPolicy is how a PIN is made.
type PINPolicy struct {
	// Length in characters, which are bytes here.
	Length int `yaml:"length"`
	// Alphabet is a name from Alphabets or the characters themselves; see Characters.
	Alphabet string `yaml:"alphabet"`
}

// UserPIN is how a product's user PIN is made and delivered.
type UserPIN struct {
	Length   int    `yaml:"length"`
	Alphabet string `yaml:"alphabet"`
	// Deny lists what is not drawn because people guess it first: of PINRules.
	Deny []string `yaml:"deny"`
	// Delivery is one of Deliveries.
	Delivery string `yaml:"delivery"`
	// FirstPIN is what the token leaves with where its holder changes it first. It is no secret.
	FirstPIN string `yaml:"firstPin"`
}

// Policy is the part that says how the PIN is made.
func (u UserPIN) Policy() PINPolicy { return PINPolicy{u.Length, u.Alphabet} }

// Product is what is made for one product code.
type Product struct {
	Code        string      `yaml:"code"`
	Key         Key         `yaml:"key"`
	Certificate Certificate `yaml:"certificate"`
	UserPIN     UserPIN     `yaml:"userPin"`
	// TokenLabel is a template over UnitData; at most 32 bytes, different for every unit.
	TokenLabel string `yaml:"tokenLabel"`
}

// Key is the key pair to generate.
type Key struct {
	// Algorithm is one of KeyAlgorithms.
	Algorithm string `yaml:"algorithm"`
}

// Certificate is the product's certificate profile. Names of attributes and
// usages and the templates are those of package csr, whose Profile.Compile
// judges them.
type Certificate struct {
	Subject          []SubjectAttribute `yaml:"subject"`
	EmailSAN         string             `yaml:"emailSan"`
	EmailSANOptional bool               `yaml:"emailSanOptional"`
	MayAdd           []string           `yaml:"mayAdd"`
	Forbidden        []string           `yaml:"forbidden"`
	KeyUsage         []string           `yaml:"keyUsage"`
	ExtKeyUsage      []string           `yaml:"extKeyUsage"`
	// ValidityTolerance is how far the certificate's end may be from the ordered one.
	ValidityTolerance time.Duration `yaml:"validityTolerance"`
	// ClockTolerance is how far in the future the certificate may begin.
	ClockTolerance time.Duration `yaml:"clockTolerance"`
}

// SubjectAttribute is one attribute of the subject.
type SubjectAttribute struct {
	Type string `yaml:"type"`
	// Value is a template over UnitData.
	Value string `yaml:"value"`
	// Optional leaves the attribute out when its value renders empty.
	Optional bool `yaml:"optional"`
}

// UnitData is what templates see: the same fields as csr.SubjectData, which
// renders them. It is here so that labels can be tried out without knowing csr.
type UnitData struct {
	OrderID      string
	UnitID       string
	Sequence, Of int
	Company      Company
	Handler      Handler
	ProductCode  string
}

// Company is the buyer.
type Company struct{ Name, USCC string }

// Handler is who acts for the buyer.
type Handler struct{ Name, Email string }
