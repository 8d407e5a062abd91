package worker

import (
	"crypto"
	"errors"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// protocol is the first thing a child says. Both ends are of one build; it
// guards against a program that was replaced on disk where it must be run by its path,
// and one whose main never enters child mode.
const protocol = "usbkeyd token worker 3"

// operation is the first value of a request.
type operation uint64

const (
	opModuleClose operation = iota + 1
	opModuleInfo
	opSlots
	opOpen
	opReset // closes all tokens
	opTokenInfo
	opInit
	opLoginSO
	opLoginUser
	opLogout
	opInitUserPIN
	opSetSOPIN
	opSetUserPIN
	opMechanisms
	opObjects
	opGenerateKeyPair
	opSign
	opWriteCertificate
	opDestroy
	opTokenClose
)

// String is how errors of the worker itself name the call.
func (o operation) String() string {
	names := map[operation]string{
		opModuleClose: "C_Finalize", opModuleInfo: "C_GetInfo", opSlots: "C_GetSlotList",
		opOpen: "open token", opReset: "close tokens", opTokenInfo: "C_GetTokenInfo",
		opInit: "C_InitToken", opLoginSO: "C_Login", opLoginUser: "C_Login", opLogout: "C_Logout",
		opInitUserPIN: "C_InitPIN", opSetSOPIN: "C_SetPIN", opSetUserPIN: "C_SetPIN", opMechanisms: "C_GetMechanismList", opObjects: "C_FindObjects",
		opGenerateKeyPair: "C_GenerateKeyPair", opSign: "C_Sign", opWriteCertificate: "C_CreateObject",
		opDestroy: "C_DestroyObject", opTokenClose: "C_CloseSession",
	}
	if name, ok := names[o]; ok {
		return name
	}
	return "unknown operation"
}

// A response begins with one of these.
const (
	statusOK    = 0
	statusError = 1
)

// error flattens any error; what is not a *pkcs11.Error keeps only its words.
func (e *encoder) error(err error) {
	known, ok := errors.AsType[*pkcs11.Error](err)
	if !ok {
		known = &pkcs11.Error{Op: "module process", Kind: pkcs11.ErrGeneral, Detail: err.Error()}
	}
	e.fault(known)
}

func (e *encoder) fault(f *pkcs11.Error) {
	e.string(f.Op)
	e.string(f.Slot)
	e.uint(uint64(f.Code))
	e.string(string(f.Kind))
	e.string(f.Detail)
}

func (d *decoder) fault() *pkcs11.Error {
	return &pkcs11.Error{
		Op:     d.string(),
		Slot:   d.string(),
		Code:   pkcs11.Code(d.uint()),
		Kind:   pkcs11.Sentinel(d.string()),
		Detail: d.string(),
	}
}

func (e *encoder) moduleInfo(i pkcs11.ModuleInfo) {
	e.string(i.Manufacturer)
	e.string(i.Description)
	e.string(i.LibraryVersion)
	e.string(i.CryptokiVersion)
}

func (d *decoder) moduleInfo() pkcs11.ModuleInfo {
	return pkcs11.ModuleInfo{
		Manufacturer:    d.string(),
		Description:     d.string(),
		LibraryVersion:  d.string(),
		CryptokiVersion: d.string(),
	}
}

func (e *encoder) tokenInfo(i pkcs11.TokenInfo) {
	e.string(string(i.Label))
	e.string(i.Manufacturer)
	e.string(i.Model)
	e.string(string(i.Serial))
	e.uint(uint64(i.Flags))
	e.int(i.MinPINLen)
	e.int(i.MaxPINLen)
	e.string(i.HardwareVersion)
	e.string(i.FirmwareVersion)
}

func (d *decoder) tokenInfo() pkcs11.TokenInfo {
	return pkcs11.TokenInfo{
		Label:           pkcs11.TokenLabel(d.string()),
		Manufacturer:    d.string(),
		Model:           d.string(),
		Serial:          pkcs11.TokenSerial(d.string()),
		Flags:           pkcs11.TokenFlags(d.uint()),
		MinPINLen:       d.int(),
		MaxPINLen:       d.int(),
		HardwareVersion: d.string(),
		FirmwareVersion: d.string(),
	}
}

func (e *encoder) mechanisms(list []pkcs11.MechanismInfo) {
	e.uint(uint64(len(list)))
	for _, m := range list {
		e.uint(uint64(m.Mechanism))
		e.uint(uint64(m.MinKeySize))
		e.uint(uint64(m.MaxKeySize))
		e.uint(uint64(m.Flags))
	}
}

func (d *decoder) mechanisms() []pkcs11.MechanismInfo {
	list := []pkcs11.MechanismInfo{}
	for range d.count() {
		list = append(list, pkcs11.MechanismInfo{
			Mechanism:  pkcs11.Mechanism(d.uint()),
			MinKeySize: uint(d.uint()), MaxKeySize: uint(d.uint()),
			Flags: pkcs11.MechanismFlags(d.uint()),
		})
	}
	return list
}

func (e *encoder) identity(id pkcs11.Identity) {
	e.string(string(id.Serial))
	e.string(id.SlotDescription)
}

func (d *decoder) identity() pkcs11.Identity {
	return pkcs11.Identity{Serial: pkcs11.TokenSerial(d.string()), SlotDescription: d.string()}
}

func (e *encoder) slots(slots []pkcs11.Slot) {
	e.uint(uint64(len(slots)))
	for _, s := range slots {
		e.string(s.Description)
		e.bool(s.Token != nil)
		if s.Token != nil {
			e.tokenInfo(*s.Token)
		}
		e.bool(s.Fault != nil)
		if s.Fault != nil {
			e.fault(s.Fault)
		}
	}
}

func (d *decoder) slots() []pkcs11.Slot {
	var slots []pkcs11.Slot
	for range d.count() {
		s := pkcs11.Slot{Description: d.string()}
		if d.bool() {
			info := d.tokenInfo()
			s.Token = &info
		}
		if d.bool() {
			s.Fault = d.fault()
		}
		slots = append(slots, s)
	}
	return slots
}

func (e *encoder) query(q pkcs11.Query) {
	e.bool(q.Class != nil)
	if q.Class != nil {
		e.uint(uint64(*q.Class))
	}
	e.bytes(q.ID)
	e.bool(q.Passing)
	e.bool(q.Shallow)
}

func (d *decoder) query() pkcs11.Query {
	var q pkcs11.Query
	if d.bool() {
		class := pkcs11.ObjectClass(d.uint())
		q.Class = &class
	}
	q.ID = d.bytes()
	q.Passing = d.bool()
	q.Shallow = d.bool()
	return q
}

func (e *encoder) object(o pkcs11.Object) {
	e.uint(uint64(o.Class))
	e.bytes(o.ID)
	e.string(o.Label)
	e.bytes(o.PublicKey)
	e.bytes(o.Certificate)
	for _, c := range claims(&o.Claims) {
		e.string(string(*c))
	}
}

func (d *decoder) object() pkcs11.Object {
	o := pkcs11.Object{
		Class:       pkcs11.ObjectClass(d.uint()),
		ID:          d.bytes(),
		Label:       d.string(),
		PublicKey:   d.bytes(),
		Certificate: d.bytes(),
	}
	for _, c := range claims(&o.Claims) {
		*c = pkcs11.Claim(d.string())
	}
	return o
}

// claims fixes the order in which they travel.
func claims(c *pkcs11.KeyClaims) []*pkcs11.Claim {
	return []*pkcs11.Claim{
		&c.Private, &c.Sensitive, &c.Extractable, &c.AlwaysSensitive, &c.NeverExtractable, &c.Local, &c.Sign,
	}
}

func (e *encoder) objects(objects []pkcs11.Object) {
	e.uint(uint64(len(objects)))
	for _, o := range objects {
		e.object(o)
	}
}

func (d *decoder) objects() []pkcs11.Object {
	objects := []pkcs11.Object{}
	for range d.count() {
		objects = append(objects, d.object())
	}
	return objects
}

func (e *encoder) keyPairTemplate(t pkcs11.KeyPairTemplate) {
	a := t.Algorithm
	e.string(a.Name)
	e.uint(uint64(a.KeyType))
	e.uint(uint64(a.Generate))
	e.int(a.ModulusBits)
	e.bytes(a.ECParams)
	e.uint(uint64(a.Sign))
	e.uint(uint64(a.Hash))
	e.string(string(a.Form))
	e.bytes(t.ID)
	e.string(t.Label)
	e.strings(t.Omit)
}

func (d *decoder) keyPairTemplate() pkcs11.KeyPairTemplate {
	return pkcs11.KeyPairTemplate{
		Algorithm: pkcs11.Algorithm{
			Name:        d.string(),
			KeyType:     pkcs11.KeyType(d.uint()),
			Generate:    pkcs11.Mechanism(d.uint()),
			ModulusBits: d.int(),
			ECParams:    d.bytes(),
			Sign:        pkcs11.Mechanism(d.uint()),
			Hash:        crypto.Hash(d.uint()),
			Form:        pkcs11.SignatureForm(d.string()),
		},
		ID:    d.bytes(),
		Label: d.string(),
		Omit:  d.strings(),
	}
}

func (e *encoder) certificate(c pkcs11.CertificateObject) {
	e.bytes(c.ID)
	e.string(c.Label)
	e.bytes(c.DER)
}

func (d *decoder) certificate() pkcs11.CertificateObject {
	return pkcs11.CertificateObject{ID: d.bytes(), Label: d.string(), DER: d.bytes()}
}
