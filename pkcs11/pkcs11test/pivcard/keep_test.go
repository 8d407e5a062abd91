package pivcard

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestKeep: a card out of its file is the card that went in, without its logins.
func TestKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "card.json")
	h, maker := newHost(t)
	if err := h.card.Keep(file); err != nil {
		t.Fatal(err)
	}
	tag := tlv("\x5c", 0x5f, 0xc1, 5)
	h.authenticates(swOK, FactoryManagementKey)
	h.generates(0x9d, algRSA2048)
	h.wants(swOK, insPutData, 0x3f, 0xff, join(tag, tlv("\x53", 1, 2, 3))...)
	h.verifies(0x63c2, "000000")
	before := h.attestationOf(0x9d)
	var err error
	if h.card, err = Open(file); err != nil {
		t.Fatal(err)
	}
	h.selects()
	h.wants(0x63c2, insVerify, 0, refPIN)
	h.wants(swNotAuthorised, insGenerate, 0, 0x9a, 0xac, 3, 0x80, 1, algP256)
	after := h.attestationOf(0x9d)
	if !bytes.Equal(before.RawSubjectPublicKeyInfo, after.RawSubjectPublicKeyInfo) {
		t.Error("9D holds another key")
	}
	h.leadsTo(after, maker)
	if got := h.wants(swOK, insGetData, 0x3f, 0xff, tag...); !bytes.Equal(got, []byte{0x53, 3, 1, 2, 3}) {
		t.Errorf("the object is %x", got)
	}
}

func TestOpenMaker(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenMaker(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenMaker(dir)
	if err != nil || !first.Root.Equal(second.Root) {
		t.Fatalf("another maker: %v", err)
	}
	_, attester, err := second.attester(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := attester.CheckSignatureFrom(first.Root); err != nil {
		t.Error(err)
	}
}

// FuzzOpen: whatever is in the file, there is a card that answers, or an error.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"serial":1,"managementKey":"","slots":{"9a":{"pkcs8":"AAAA"}},"objects":{"5fc105":"AQ=="}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "card.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(file)
		if (c == nil) == (err == nil) {
			t.Fatalf("card %v, error %v", c, err)
		}
		if c != nil {
			h := host{t, c}
			h.selects()
			h.send(insAuthenticate, algTripleDES, refManagement, 0x7c, 2, 0x80, 0)
		}
	})
}
