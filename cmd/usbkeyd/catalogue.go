package main

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// catalogue is what the configuration says of products, ready for use.
type catalogue struct {
	products map[string]provision.Product
	labels   map[string]*csr.Text
	codes    []string
}

// newCatalogue compiles every product; all faults are joined, with their field paths.
func newCatalogue(station *config.Station) (*catalogue, error) {
	c := &catalogue{products: map[string]provision.Product{}, labels: map[string]*csr.Text{}}
	var errs []error
	for i, p := range station.Products {
		field := fmt.Sprintf("products[%d]", i)
		fault := func(sub string, err error) {
			if err != nil {
				errs = append(errs, &config.FieldError{Field: field + sub, Err: err})
			}
		}
		algorithm, err := pkcs11.AlgorithmByName(p.Key.Algorithm)
		fault(".key.algorithm", err)
		profile, err := certificateProfile(p.Certificate).Compile()
		for _, e := range unjoin(err) {
			var f *csr.FieldError
			if errors.As(e, &f) {
				fault(".certificate."+f.Field, f.Err)
			} else {
				fault(".certificate", e)
			}
		}
		label, err := csr.CompileText(p.TokenLabel)
		fault(".tokenLabel", err)
		product := provision.Product{
			Code: p.Code, Algorithm: algorithm, Profile: profile,
			UserPIN:  provision.PINPolicy{Length: p.UserPIN.Length, Alphabet: p.UserPIN.Policy().Characters()},
			Delivery: provision.Delivery(p.UserPIN.Delivery), FirstPIN: p.UserPIN.FirstPIN,
		}
		for _, rule := range p.UserPIN.Deny {
			product.UserPIN.Deny = append(product.UserPIN.Deny, provision.PINRule(rule))
		}
		c.products[p.Code] = product
		c.labels[p.Code] = label
		c.codes = append(c.codes, p.Code)
	}
	return c, errors.Join(errs...)
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func certificateProfile(c config.Certificate) csr.Profile {
	p := csr.Profile{
		EmailSAN: c.EmailSAN, EmailSANOptional: c.EmailSANOptional, MayAdd: c.MayAdd, Forbidden: c.Forbidden,
		KeyUsage: c.KeyUsage, ExtKeyUsage: c.ExtKeyUsage,
		ValidityTolerance: c.ValidityTolerance, ClockTolerance: c.ClockTolerance,
	}
	for _, a := range c.Subject {
		p.Subject = append(p.Subject, csr.AttributeTemplate{Type: a.Type, Value: a.Value, Optional: a.Optional})
	}
	return p
}

func (c *catalogue) product(code string) (provision.Product, error) {
	p, ok := c.products[code]
	if !ok {
		return provision.Product{}, fmt.Errorf("product %s is not in the configuration", code)
	}
	return p, nil
}

func (c *catalogue) label(code string) (*csr.Text, error) {
	l, ok := c.labels[code]
	if !ok {
		return nil, fmt.Errorf("product %s is not in the configuration", code)
	}
	return l, nil
}

// shelf holds the catalogue that counts now: a reload puts another in its place.
type shelf struct{ atomic.Pointer[catalogue] }

func (s *shelf) product(code string) (provision.Product, error) { return s.Load().product(code) }

func (s *shelf) label(code string) (*csr.Text, error) { return s.Load().label(code) }
