package pkcs11test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// FloorOpener opens the implementation to be measured on a bay, and gives how to close it.
type FloorOpener func(b *testing.B, bay Bay) (pkcs11.Module, func())

// Floor measures what a token costs at the least: the calls that turn a blank
// one into a finished one, for one algorithm, on a SoftHSM bay. A bay takes a
// few tokens and is replaced, as SoftHSM slows down with the tokens it shows.
func Floor(b *testing.B, open FloorOpener, algorithm string) {
	const tokensPerBay = 8
	a, err := pkcs11.AlgorithmByName(algorithm)
	if err != nil {
		b.Fatal(err)
	}
	der := Certificate(b, "floor")
	var m pkcs11.Module
	done := func() {}
	n := 0
	for b.Loop() {
		if n%tokensPerBay == 0 {
			b.StopTimer()
			done()
			m, done = open(b, NewBay(b))
			// The first one touches everything for the first time.
			if err := floorToken(b, m, a, der); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		n++
		if err := floorToken(b, m, a, der); err != nil {
			b.Fatal(err)
		}
	}
	done()
}

func floorToken(b *testing.B, m pkcs11.Module, a pkcs11.Algorithm, der []byte) error {
	ctx := b.Context()
	all, err := m.Slots(ctx)
	if err != nil {
		return err
	}
	token, err := m.Open(ctx, all[len(all)-1].Identity()) // SoftHSM lists the blank one last
	if err != nil {
		return err
	}
	id := pkcs11.KeyID{1}
	input := make([]byte, a.Hash.Size())
	sign := func() error { _, err := token.Sign(ctx, id, a.Sign, input); return err }
	for _, step := range []func() error{
		func() error { _, err := token.Init(ctx, so(soPIN), "floor"); return err },
		func() error { return token.LoginSO(ctx, so(soPIN)) },
		func() error { return token.InitUserPIN(ctx, user(userPIN)) },
		func() error { return token.Logout(ctx) },
		func() error { return token.LoginUser(ctx, user(userPIN)) },
		func() error {
			_, err := token.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: a, ID: id, Label: "floor"})
			return err
		},
		sign,
		func() error {
			return token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: id, Label: "floor", DER: der})
		},
		func() error {
			_, err := token.Objects(ctx, pkcs11.Query{Class: of(pkcs11.ClassCertificate), ID: id})
			return err
		},
		sign,
		token.Close,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
