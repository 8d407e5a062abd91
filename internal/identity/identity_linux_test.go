package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
)

// open is the TPM, closed when the test ends.
func open(t *testing.T, device string, deadline time.Duration) *TPM {
	t.Helper()
	tpm := New(device, deadline)
	t.Cleanup(func() { _ = tpm.Close() }) // it may have been killed
	return tpm
}

func newKey(t *testing.T, tpm *TPM) (*Key, []byte) {
	t.Helper()
	kept, err := tpm.MakeKeys()
	if err != nil {
		t.Fatal(err)
	}
	k, err := tpm.LoadKey(kept)
	if err != nil {
		t.Fatal(err)
	}
	return k, kept
}

func sign(k *Key) error {
	digest := sha256.Sum256([]byte("something"))
	signature, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err == nil && !ecdsa.VerifyASN1(k.public, digest[:], signature) {
		err = errors.New("the signature does not hold")
	}
	return err
}

// TestTLSClientKey: the key that never leaves the TPM authenticates a TLS 1.3 client,
// from many connections at once, and nothing stays loaded.
func TestTLSClientKey(t *testing.T) {
	soft := tpmtest.New(t)
	tpm := open(t, soft.Device, 0)
	key, _ := newKey(t, tpm)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample-station"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "hello") // the client sees what is missing
			}()
		}
	}()
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}}
			c, err := d.DialContext(ctx, "tcp", listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	clients.Wait()
	if err := tpm.Close(); err != nil {
		t.Fatal(err)
	}
	if n := loaded(t, soft); n != 0 {
		t.Errorf("%d objects and sessions stay in the TPM", n)
	}
}

func loaded(t *testing.T, soft *tpmtest.TPM) (n int) {
	t.Helper()
	soft.Do(t, func(tpm transport.TPM) error {
		for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
			got, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(tpm)
			if err != nil {
				return err
			}
			handles, err := got.CapabilityData.Data.Handles()
			if err != nil {
				return err
			}
			n += len(handles.Handle)
		}
		return nil
	})
	return n
}

// TestNothingStaysLoaded: after each use, and after each that fails, nothing is left in
// the TPM but the identity key.
func TestNothingStaysLoaded(t *testing.T) {
	soft, other := tpmtest.New(t), tpmtest.New(t)
	tpm := open(t, soft.Device, 0)
	key, _ := newKey(t, tpm)
	bound, err := tpm.Seal([]byte("secret"), []uint{16})
	if err != nil {
		t.Fatal(err)
	}
	foreign := open(t, other.Device, 0)
	theirs, err := foreign.Seal([]byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tpm.Close(); err != nil {
		t.Fatal(err)
	}
	soft.Measure(t, 16)
	for range 5 { // a TPM has three places
		if _, err := tpm.Unseal(bound); !errors.Is(err, ErrPCRs) {
			t.Fatal(err)
		}
		if _, err := tpm.Unseal(theirs); !errors.Is(err, ErrCleared) {
			t.Fatal(err)
		}
		if _, err := key.Answer(make([]byte, 40), make([]byte, 256)); err == nil {
			t.Fatal("a challenge of zeros was answered")
		}
		if _, err := key.Request(); err != nil {
			t.Fatal(err)
		}
		if _, err := key.Certify(make([]byte, 32)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tpm.Close(); err != nil {
		t.Fatal(err)
	}
	if n := loaded(t, soft); n != 0 {
		t.Errorf("%d objects and sessions stay in the TPM", n)
	}
}

// TestSeal: what a TPM sealed it opens, before and after its machine was started
// again; another does not.
func TestSeal(t *testing.T) {
	soft, other := tpmtest.New(t), tpmtest.New(t)
	tpm, foreign := open(t, soft.Device, 0), open(t, other.Device, 0)
	secret := []byte("0123456789abcdef0123456789abcdef")
	for name, pcrs := range map[string][]uint{"any start": nil, "this start": {0, 7}} {
		t.Run(name, func(t *testing.T) {
			box, err := tpm.Seal(secret, pcrs)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(box, secret) {
				t.Fatal("the secret is in the clear")
			}
			if got, err := tpm.Unseal(box); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := foreign.Unseal(box); !errors.Is(err, ErrCleared) {
				t.Errorf("another TPM: %v, want ErrCleared", err)
			}
			soft.Kill(t)
			soft.Start(t)
			if _, err := tpm.Unseal(box); err != nil && !errors.Is(err, ErrDied) {
				t.Error(err)
			}
			if got, err := tpm.Unseal(box); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("after another start: %q, %v", got, err)
			}
		})
	}
	box, err := tpm.Seal(secret, []uint{7})
	if err != nil {
		t.Fatal(err)
	}
	if err := tpm.Close(); err != nil {
		t.Fatal(err)
	}
	soft.Measure(t, 7)
	if _, err := tpm.Unseal(box); !errors.Is(err, ErrPCRs) {
		t.Errorf("with another register 7: %v, want ErrPCRs", err)
	}
	for name, data := range map[string]string{"nothing": "", "another version": `{"version":2}`, "a register that is none": `{"version":1,"pcrs":[24]}`} {
		if _, err := tpm.Unseal([]byte(data)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	if _, err := tpm.Seal(make([]byte, 129), nil); err == nil {
		t.Error("129 bytes were sealed")
	}
}

// TestTroubles ill-treats a TPM; each time the error is the one that says what to do,
// and once the trouble is over the same key signs again.
func TestTroubles(t *testing.T) {
	const deadline = 500 * time.Millisecond
	t.Run("absent", func(t *testing.T) {
		for _, device := range []string{"unix:" + filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "none"), os.DevNull + "/none"} {
			if _, err := open(t, device, deadline).Check(); !errors.Is(err, ErrAbsent) {
				t.Errorf("%s: %v, want ErrAbsent", device, err)
			}
		}
	})
	t.Run("dies half-way", func(t *testing.T) {
		soft := tpmtest.New(t)
		tpm := open(t, soft.Device, 0)
		key, _ := newKey(t, tpm)
		soft.Freeze(t)
		failed := make(chan error, 1)
		go func() { failed <- sign(key) }()
		time.Sleep(100 * time.Millisecond) // it is in the middle of the command
		soft.Kill(t)
		if err := <-failed; !errors.Is(err, ErrDied) {
			t.Errorf("%v, want ErrDied", err)
		}
		if err := sign(key); !errors.Is(err, ErrAbsent) {
			t.Errorf("while it is gone: %v, want ErrAbsent", err)
		}
		soft.Start(t)
		if err := sign(key); err != nil {
			t.Errorf("after it has come back: %v", err)
		}
	})
	t.Run("slow", func(t *testing.T) {
		soft := tpmtest.New(t)
		tpm := open(t, soft.Device, deadline)
		key, _ := newKey(t, tpm)
		soft.Freeze(t)
		begun := time.Now()
		if err := sign(key); !errors.Is(err, ErrSlow) {
			t.Errorf("%v, want ErrSlow", err)
		}
		if took := time.Since(begun); took > 5*deadline {
			t.Errorf("it took %s", took)
		}
		soft.Thaw(t)
		// What it does first is to answer the command that nobody waits for any more.
		var err error
		for range 20 {
			if err = sign(key); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("after it has gone on: %v", err)
		}
	})
	t.Run("held by another program", func(t *testing.T) {
		soft := tpmtest.New(t)
		first := open(t, soft.Device, 0)
		if _, err := first.Check(); err != nil {
			t.Fatal(err)
		}
		second := open(t, soft.Device, deadline)
		if _, err := second.Check(); !errors.Is(err, ErrSlow) { // a socket without a resource manager lets one in at a time
			t.Errorf("%v, want ErrSlow", err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if maker, err := second.Check(); err != nil || maker == "" {
			t.Errorf("after the first has gone: %q, %v", maker, err)
		}
	})
	t.Run("held by another call", func(t *testing.T) {
		tpm := open(t, tpmtest.New(t).Device, deadline)
		if err := tpm.take(); err != nil {
			t.Fatal(err)
		}
		if _, err := tpm.Check(); !errors.Is(err, ErrBusy) {
			t.Errorf("%v, want ErrBusy", err)
		}
		tpm.give()
	})
	t.Run("cleared", func(t *testing.T) {
		soft := tpmtest.New(t)
		tpm := open(t, soft.Device, 0)
		key, _ := newKey(t, tpm)
		if err := tpm.Close(); err != nil {
			t.Fatal(err)
		}
		soft.Clear(t)
		if err := sign(key); !errors.Is(err, ErrCleared) {
			t.Errorf("%v, want ErrCleared", err)
		}
		if key, _ = newKey(t, tpm); sign(key) != nil {
			t.Error("a cleared TPM makes no new key")
		}
	})
	t.Run("another TPM", func(t *testing.T) {
		tpm, other := open(t, tpmtest.New(t).Device, 0), open(t, tpmtest.New(t).Device, 0)
		_, kept := newKey(t, tpm)
		key, err := other.LoadKey(kept)
		if err != nil {
			t.Fatal(err)
		}
		if err := sign(key); !errors.Is(err, ErrCleared) {
			t.Errorf("%v, want ErrCleared", err)
		}
	})
	t.Run("owned by another", func(t *testing.T) {
		soft := tpmtest.New(t)
		soft.Own(t)
		if _, err := open(t, soft.Device, 0).MakeKeys(); !errors.Is(err, ErrOwned) {
			t.Errorf("%v, want ErrOwned", err)
		}
	})
	t.Run("locked out", func(t *testing.T) {
		soft := tpmtest.New(t)
		tpm := open(t, soft.Device, 0)
		key, _ := newKey(t, tpm)
		if err := tpm.Close(); err != nil {
			t.Fatal(err)
		}
		soft.LockOut(t)
		// What can be guessed at is refused ...
		err := tpm.do("use what can be guessed at", func(s *scope) error {
			srk, err := s.root()
			if err != nil {
				return err
			}
			template := signer(false)
			template.ObjectAttributes.NoDA = false
			b, err := s.create(srk, template, nil)
			if err != nil {
				return err
			}
			o, err := s.load(srk, b)
			if err != nil {
				return err
			}
			_, err = tpm2.Unseal{ItemHandle: o.auth()}.Execute(s)
			return err
		})
		if !errors.Is(err, ErrLockedOut) {
			t.Errorf("%v, want ErrLockedOut", err)
		}
		// ... and ours is not such.
		if err := sign(key); err != nil {
			t.Errorf("the station's own key: %v", err)
		}
	})
	t.Run("forgot its keys", func(t *testing.T) {
		tpm := open(t, tpmtest.New(t).Device, 0)
		key, _ := newKey(t, tpm)
		if err := sign(key); err != nil {
			t.Fatal(err)
		}
		if err := flush(tpm.open, tpm.loaded); err != nil { // as when the machine slept
			t.Fatal(err)
		}
		if err := sign(key); err != nil {
			t.Error(err)
		}
	})
}

// TestDamagedKeys: what was kept of the keys is judged before the TPM is asked.
func TestDamagedKeys(t *testing.T) {
	tpm := open(t, tpmtest.New(t).Device, 0)
	_, kept := newKey(t, tpm)
	for name, data := range map[string][]byte{
		"nothing": nil, "half": kept[:len(kept)/2], "another version": bytes.Replace(kept, []byte(`"version": 1`), []byte(`"version": 2`), 1),
		"no identity": bytes.Replace(kept, []byte("identityKey"), []byte("identity"), 1), "no attestation": bytes.Replace(kept, []byte("attestationKey"), []byte("x"), 1),
	} {
		if _, err := tpm.LoadKey(data); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
}

// TestNonsense: a socket where no TPM is.
func TestNonsense(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	if _, err := open(t, "unix:"+path, time.Second).Check(); !errors.Is(err, ErrAbsent) {
		t.Errorf("%v, want ErrAbsent", err)
	}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
