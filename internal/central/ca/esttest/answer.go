package esttest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net/http"
	"strconv"

	"github.com/usbkeyd/usbkeyd/csr"
)

// Exchange is one enrolment whose request is well formed.
type Exchange struct {
	*Server
	W       http.ResponseWriter
	R       *http.Request
	Request *csr.ParsedRequest
}

// Answer is how a server answers an enrolment.
type Answer func(*Exchange)

// certify makes a certificate for the request, as often as it is called.
func (e *Exchange) certify() *x509.Certificate {
	cert := e.issuer.leaf(e.Request.PublicKey, e.Request.RawSubject, e.Request.Emails)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made[string(e.Request.Raw)] = append(e.made[string(e.Request.Raw)], cert)
	return cert
}

// hang waits until the client is gone or the test over.
func (e *Exchange) hang() {
	select {
	case <-e.R.Context().Done():
	case <-e.stopping:
	}
}

// cut breaks the connection in the middle of the exchange.
func (e *Exchange) cut() {
	conn, _, err := http.NewResponseController(e.W).Hijack()
	if err != nil {
		e.t.Error(err)
		return
	}
	_ = conn.Close() // broken is what it should be
}

// Issue answers as it should: with the certificate alone.
func Issue(e *Exchange) { e.send(e.W, e.certify()) }

// SlowBefore hangs and makes nothing; SlowAfter makes the certificate and hangs.
func SlowBefore(e *Exchange) { e.hang() }

// SlowAfter makes the certificate and hangs.
func SlowAfter(e *Exchange) { e.certify(); e.hang() }

// CutBefore breaks the connection before a certificate is made.
func CutBefore(e *Exchange) { e.cut() }

// CutAfter breaks the connection after the certificate is made.
func CutAfter(e *Exchange) { e.certify(); e.cut() }

// Later answers 202 the first times, with a Retry-After if it is not empty, then as it should.
func Later(times int, retryAfter string) Answer {
	return func(e *Exchange) {
		if e.Asked(e.Request.Raw) > times {
			Issue(e)
			return
		}
		if retryAfter != "" {
			e.W.Header().Set("Retry-After", retryAfter)
		}
		e.W.WriteHeader(http.StatusAccepted)
	}
}

// Status answers with a status and words.
func Status(code int, header ...string) Answer {
	return func(e *Exchange) {
		for i := 0; i+1 < len(header); i += 2 {
			e.W.Header().Set(header[i], header[i+1])
		}
		http.Error(e.W, "the CA says "+strconv.Itoa(code), code)
	}
}

// WrongType makes the certificate and sends it as what it is not.
func WrongType(e *Exchange) {
	cert := e.certify()
	e.W.Header().Set("Content-Type", "text/html")
	_, _ = e.W.Write(cert.Raw)
}

// OtherSMIMEType sends a certs-only message and calls it a key that was made at the server.
func OtherSMIMEType(e *Exchange) {
	der, err := csr.EncodeBundle([]*x509.Certificate{e.certify()})
	if err != nil {
		e.t.Error(err)
	}
	e.W.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=server-generated-key")
	_, _ = e.W.Write(der)
}

// OtherKey sends a certificate for the right subject and a key of somebody else.
func OtherKey(e *Exchange) {
	e.send(e.W, e.issuer.leaf(newKey(e.t).Public(), e.Request.RawSubject, nil))
}

// OtherSubject certifies the right key under another name.
func OtherSubject(e *Exchange) {
	raw, err := asn1.Marshal(pkix.Name{Country: []string{"CN"}, Organization: []string{"示例座椅制造有限公司"}}.ToRDNSequence())
	if err != nil {
		e.t.Error(err)
	}
	cert := e.issuer.leaf(e.Request.PublicKey, raw, nil)
	e.mu.Lock()
	e.made[string(e.Request.Raw)] = append(e.made[string(e.Request.Raw)], cert)
	e.mu.Unlock()
	e.send(e.W, cert)
}

// TwoLeaves makes two certificates for the one key and sends both.
func TwoLeaves(e *Exchange) { e.send(e.W, e.certify(), e.certify()) }

// Twice makes two certificates and sends the second.
func Twice(e *Exchange) {
	e.certify()
	Issue(e)
}

// ExtraCertificates sends the leaf last, after all that may come along and more.
func ExtraCertificates(e *Exchange) {
	stranger := newAuthority(e.t, "sample stranger", nil)
	e.send(e.W, e.root.cert, stranger.cert, stranger.leaf(newKey(e.t).Public(), e.Request.RawSubject, nil), e.issuer.cert, e.certify())
}

// EmptyBundle sends a certs-only message without certificates.
func EmptyBundle(e *Exchange) {
	e.certify()
	// SEQUENCE { signedData, [0] SEQUENCE { 1, SET {}, SEQUENCE { data }, SET {} } }
	e.sendDER(e.W, []byte{
		0x30, 0x23, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02, 0xa0, 0x16, 0x30, 0x14, 0x02, 0x01, 0x01, 0x31, 0x00,
		0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01, 0x31, 0x00,
	})
}

// Garbage sends what is no base64 under the right type.
func Garbage(e *Exchange) {
	e.certify()
	e.W.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	_, _ = e.W.Write([]byte("\x00\xff%%%"))
}

// Huge sends 10 MB under the right type.
func Huge(e *Exchange) {
	e.certify()
	e.W.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	_, _ = io.Copy(e.W, bytes.NewReader(bytes.Repeat([]byte("MIIB"), 10<<20/4)))
}
