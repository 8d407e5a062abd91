package worker

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func frame(t testing.TB, message []byte) []byte {
	t.Helper()
	e := newFrame(0)
	e.buf = append(e.buf, message...)
	var out bytes.Buffer
	if err := writeFrame(&out, e); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFrames(t *testing.T) {
	messages := [][]byte{{}, []byte("short"), bytes.Repeat([]byte{7}, 4092), bytes.Repeat([]byte{8}, 4093), bytes.Repeat([]byte{9}, maxFrame), []byte("last")}
	var stream []byte
	for _, m := range messages {
		stream = append(stream, frame(t, m)...)
	}
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"with its end": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		frames := newFrameReader(r)
		for i, want := range messages {
			if got, err := frames.next(); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: message %d is of %d bytes, %v, want %d", name, i, len(got), err, len(want))
			}
		}
		if _, err := frames.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end the error is %v", name, err)
		}
		if frames.ahead != [len(frames.ahead)]byte{} && name == "at once" {
			// Only headers may be left: messages are wiped as they are given out.
			for _, m := range []string{"short", "last"} {
				if bytes.Contains(frames.ahead[:], []byte(m)) {
					t.Errorf("%q stays in the buffer", m)
				}
			}
		}
	}
}

func TestBadFrames(t *testing.T) {
	for name, stream := range map[string][]byte{
		"half a header":  {0, 0},
		"cut short":      {0, 0, 0, 5, 1, 2},
		"nothing behind": {0, 0, 0, 1},
		"over the limit": {0, 0x10, 0, 1},
		"text":           []byte("PASS\n"),
	} {
		if m, err := newFrameReader(bytes.NewReader(stream)).next(); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, errCutShort) {
			t.Errorf("%s: message %x, %v", name, m, err)
		}
	}
	if err := writeFrame(io.Discard, &encoder{buf: make([]byte, frameHeader+maxFrame+1)}); err == nil {
		t.Error("a message over the limit is written")
	}
}

// Every type that travels comes out as it went in.
func TestRoundTrips(t *testing.T) {
	class := pkcs11.ClassPrivateKey
	info := pkcs11.TokenInfo{
		Label: "ラベル", Manufacturer: "m", Model: "o", Serial: "s", Flags: 0xc00025,
		MinPINLen: 4, MaxPINLen: 255, HardwareVersion: "1.2", FirmwareVersion: "3.4",
	}
	fault := &pkcs11.Error{Op: "C_Login", Slot: "Reader", Code: 0x80000001, Kind: pkcs11.ErrPINLocked, Detail: "why"}
	object := pkcs11.Object{
		Class: pkcs11.ClassPrivateKey, ID: pkcs11.KeyID{1, 0}, Label: "l", PublicKey: []byte{2}, Certificate: []byte{3},
		Claims: pkcs11.KeyClaims{Private: "yes", Sensitive: "no", Extractable: "", AlwaysSensitive: "a", NeverExtractable: "n", Local: "l", Sign: "s"},
	}
	for name, c := range map[string]struct {
		want   any
		encode func(*encoder)
		decode func(*decoder) any
	}{
		"module": {pkcs11.ModuleInfo{Manufacturer: "m", Description: "d", LibraryVersion: "1", CryptokiVersion: "2"},
			func(e *encoder) {
				e.moduleInfo(pkcs11.ModuleInfo{Manufacturer: "m", Description: "d", LibraryVersion: "1", CryptokiVersion: "2"})
			},
			func(d *decoder) any { return d.moduleInfo() }},
		"token":    {info, func(e *encoder) { e.tokenInfo(info) }, func(d *decoder) any { return d.tokenInfo() }},
		"fault":    {fault, func(e *encoder) { e.error(fault) }, func(d *decoder) any { return d.fault() }},
		"identity": {pkcs11.Identity{Serial: "s", SlotDescription: "d"}, func(e *encoder) { e.identity(pkcs11.Identity{Serial: "s", SlotDescription: "d"}) }, func(d *decoder) any { return d.identity() }},
		"slots": {[]pkcs11.Slot{{Description: "empty"}, {Description: "full", Token: &info}, {Description: "bad", Fault: fault}},
			func(e *encoder) {
				e.slots([]pkcs11.Slot{{Description: "empty"}, {Description: "full", Token: &info}, {Description: "bad", Fault: fault}})
			},
			func(d *decoder) any { return d.slots() }},
		"no query": {pkcs11.Query{}, func(e *encoder) { e.query(pkcs11.Query{}) }, func(d *decoder) any { return d.query() }},
		"query": {pkcs11.Query{Class: &class, ID: pkcs11.KeyID{5}, Passing: true, Shallow: true}, func(e *encoder) {
			e.query(pkcs11.Query{Class: &class, ID: pkcs11.KeyID{5}, Passing: true, Shallow: true})
		}, func(d *decoder) any { return d.query() }},
		"mechanisms": {[]pkcs11.MechanismInfo{{Mechanism: 0x1040, MinKeySize: 256, MaxKeySize: 384, Flags: 0x10000}, {}}, func(e *encoder) {
			e.mechanisms([]pkcs11.MechanismInfo{{Mechanism: 0x1040, MinKeySize: 256, MaxKeySize: 384, Flags: 0x10000}, {}})
		}, func(d *decoder) any { return d.mechanisms() }},
		"objects": {[]pkcs11.Object{object, {}}, func(e *encoder) { e.objects([]pkcs11.Object{object, {}}) }, func(d *decoder) any { return d.objects() }},
		"certificate": {pkcs11.CertificateObject{ID: pkcs11.KeyID{1}, Label: "l", DER: []byte{2}}, func(e *encoder) {
			e.certificate(pkcs11.CertificateObject{ID: pkcs11.KeyID{1}, Label: "l", DER: []byte{2}})
		}, func(d *decoder) any { return d.certificate() }},
		"template": {
			pkcs11.KeyPairTemplate{Algorithm: pkcs11.Algorithm{Name: "n", KeyType: 3, Generate: 0x1040, ModulusBits: 2048, ECParams: []byte{6}, Sign: 0x80001234, Hash: crypto.SHA384, Form: "ecdsa"}, ID: pkcs11.KeyID{1}, Label: "l", Omit: []string{"CKA_A", "CKA_B"}},
			func(e *encoder) {
				e.keyPairTemplate(pkcs11.KeyPairTemplate{Algorithm: pkcs11.Algorithm{Name: "n", KeyType: 3, Generate: 0x1040, ModulusBits: 2048, ECParams: []byte{6}, Sign: 0x80001234, Hash: crypto.SHA384, Form: "ecdsa"}, ID: pkcs11.KeyID{1}, Label: "l", Omit: []string{"CKA_A", "CKA_B"}})
			},
			func(d *decoder) any { return d.keyPairTemplate() }},
	} {
		e := &encoder{}
		c.encode(e)
		d := &decoder{buf: bytes.Clone(e.buf)}
		if got := c.decode(d); d.end() != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s is %+v, was %+v, %v", name, got, c.want, d.end())
		}
		for cut := range e.buf { // nothing that is cut short passes
			d := &decoder{buf: bytes.Clone(e.buf[:cut])}
			if c.decode(d); d.end() == nil {
				t.Errorf("%s cut at %d of %d passes", name, cut, len(e.buf))
			}
		}
	}
}

// A field added to the vocabulary must be added to the wire: these are as many as it knows.
func TestWireKnowsEveryField(t *testing.T) {
	for v, fields := range map[any]int{
		pkcs11.ModuleInfo{}: 4, pkcs11.TokenInfo{}: 9, pkcs11.Identity{}: 2, pkcs11.Slot{}: 3, pkcs11.KeyClaims{}: 7, pkcs11.Error{}: 5, pkcs11.MechanismInfo{}: 4,
	} {
		if n := reflect.TypeOf(v).NumField(); n != fields {
			t.Errorf("%T has %d fields, the wire knows %d", v, n, fields)
		}
	}
	for _, c := range []struct {
		v      any
		fields int
	}{{pkcs11.Query{}, 4}, {pkcs11.Object{}, 6}, {pkcs11.Algorithm{}, 8}, {pkcs11.KeyPairTemplate{}, 4}, {pkcs11.CertificateObject{}, 3}} {
		if n := reflect.TypeOf(c.v).NumField(); n != c.fields {
			t.Errorf("%T has %d fields, the wire knows %d", c.v, n, c.fields)
		}
	}
}

func TestForeignErrorsKeepTheirWords(t *testing.T) {
	e := &encoder{}
	e.error(errors.New("some words"))
	if err := (&decoder{buf: e.buf}).fault(); !errors.Is(err, pkcs11.ErrGeneral) || !strings.Contains(err.Error(), "some words") {
		t.Errorf("error is %v", err)
	}
}

// nothing is a module and token on which every call succeeds.
type nothing struct{ pkcs11.Token }

func (nothing) Info(context.Context) (pkcs11.ModuleInfo, error)             { return pkcs11.ModuleInfo{}, nil }
func (nothing) Slots(context.Context) ([]pkcs11.Slot, error)                { return nil, nil }
func (nothing) Open(context.Context, pkcs11.Identity) (pkcs11.Token, error) { return quiet{}, nil }
func (nothing) Close() error                                                { return nil }

// quiet is a token that does nothing.
type quiet struct{}

func (quiet) Identity() pkcs11.Identity                                        { return pkcs11.Identity{} }
func (quiet) Info(context.Context) (pkcs11.TokenInfo, error)                   { return pkcs11.TokenInfo{}, nil }
func (quiet) LoginSO(context.Context, pkcs11.SOPIN) error                      { return nil }
func (quiet) LoginUser(context.Context, pkcs11.UserPIN) error                  { return nil }
func (quiet) Logout(context.Context) error                                     { return nil }
func (quiet) InitUserPIN(context.Context, pkcs11.UserPIN) error                { return nil }
func (quiet) SetSOPIN(context.Context, pkcs11.SOPIN, pkcs11.SOPIN) error       { return nil }
func (quiet) Objects(context.Context, pkcs11.Query) ([]pkcs11.Object, error)   { return nil, nil }
func (quiet) WriteCertificate(context.Context, pkcs11.CertificateObject) error { return nil }
func (quiet) Destroy(context.Context, pkcs11.Query) (int, error)               { return 0, nil }
func (quiet) Close() error                                                     { return nil }
func (quiet) SetUserPIN(context.Context, pkcs11.UserPIN, pkcs11.UserPIN) error { return nil }
func (quiet) Mechanisms(context.Context) ([]pkcs11.MechanismInfo, error)       { return nil, nil }
func (quiet) Init(context.Context, pkcs11.SOPIN, pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	return pkcs11.TokenInfo{}, nil
}
func (quiet) GenerateKeyPair(context.Context, pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	return pkcs11.Object{}, nil
}
func (quiet) Sign(context.Context, pkcs11.KeyID, pkcs11.Mechanism, []byte) ([]byte, error) {
	return nil, nil
}

// FuzzRequest: whatever a child is sent, it answers or says that it does not understand.
func FuzzRequest(f *testing.F) {
	for op := opModuleClose; op <= opTokenClose; op++ {
		f.Add([]byte{byte(op)})
		f.Add([]byte{byte(op), 1, 1, 'x', 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		s := &server{module: nothing{}, tokens: map[uint64]pkcs11.Token{1: quiet{}}}
		d := &decoder{buf: request}
		response := s.answer(operation(d.uint()), d)
		answer := &decoder{buf: response.buf[frameHeader:]}
		if status := answer.uint(); status == statusError {
			answer.fault()
			if err := answer.end(); err != nil {
				t.Error(err)
			}
		} else if d.bad {
			t.Errorf("malformed request %x is answered with status %d", request, status)
		}
	})
}

// FuzzResponse: whatever a child answers, the parent decodes or refuses.
func FuzzResponse(f *testing.F) {
	f.Add([]byte{0, 1, 1, 'x', 1, 2, 3})
	f.Add([]byte{1, 1, 'x', 0, 0, 1, 'k', 0})
	f.Fuzz(func(_ *testing.T, response []byte) {
		for _, result := range []func(*decoder){
			nil,
			func(d *decoder) { d.slots() },
			func(d *decoder) { d.objects() },
			func(d *decoder) { d.mechanisms() },
			func(d *decoder) { d.moduleInfo() },
			func(d *decoder) { d.tokenInfo(); d.identity() },
			func(d *decoder) { d.bytes() },
			func(d *decoder) { d.int() },
		} {
			_ = outcome(&decoder{buf: response}, "op", result)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 2, 0, 0, 0, 0})
	f.Add([]byte{0, 0x10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, slow := newFrameReader(bytes.NewReader(stream)), newFrameReader(iotest.OneByteReader(bytes.NewReader(stream)))
		for {
			a, errA := whole.next()
			b, errB := slow.next()
			if !bytes.Equal(a, b) || (errA == nil) != (errB == nil) {
				t.Fatalf("at once %x, %v; byte by byte %x, %v", a, errA, b, errB)
			}
			if errA != nil {
				return
			}
		}
	})
}
