package provision

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// crowding is a module on whose tokens something more turns up while certificates are written.
type crowding struct {
	pkcs11.Module
	id pkcs11.KeyID // of a key pair; none: the same as ours
}

func (m crowding) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	token, err := m.Module.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &crowdingToken{Token: token, m: m}, nil
}

type crowdingToken struct {
	pkcs11.Token
	m    crowding
	done bool
}

func (t *crowdingToken) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	if !t.done {
		id := t.m.id
		if id == nil {
			class := pkcs11.ClassPrivateKey
			keys, err := t.Objects(ctx, pkcs11.Query{Class: &class})
			if err != nil {
				return err
			}
			id = keys[0].ID
		}
		ec, err := pkcs11.AlgorithmByName("ec-p256")
		if err != nil {
			return err
		}
		if _, err := t.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: ec, ID: id, Label: c.Label}); err != nil {
			return err
		}
		t.done = true
	}
	return t.Token.WriteCertificate(ctx, c)
}

// TestNothingMoreIsOnTheToken: a token with a key that nobody checked leaves in no parcel.
func TestNothingMoreIsOnTheToken(t *testing.T) {
	for says, id := range map[string]pkcs11.KeyID{"an object more": {1, 2, 3}, "2 private": nil} {
		t.Run(says, func(t *testing.T) {
			s := newStation(t)
			m := crowding{s.module(), id}
			rec := s.create(m, 1)
			if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrReadBack) || !strings.Contains(err.Error(), says) || rec.State != StateQuarantined {
				t.Errorf("%s, %v", rec.State, err)
			}
		})
	}
}
