package tpmtest

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// TPM is a software TPM in a process of its own.
type TPM struct {
	// Device is where it is, for identity.New.
	Device string
	// Makers are the root and the issuer of its endorsement certificate, MakersFile the
	// same in PEM; none without such a certificate.
	Makers     []*x509.Certificate
	MakersFile string

	dir    string
	socket string
	cmd    *exec.Cmd
}

// patience is how long a software TPM may take to come up.
const patience = 20 * time.Second

// New makes a TPM and starts it; it ends with the test. It has no endorsement certificate.
func New(t testing.TB) *TPM { return newTPM(t, func(*TPM) {}) }

// NewCertified is New with an endorsement certificate, of a maker of its own.
func NewCertified(t testing.TB) *TPM { return newTPM(t, func(s *TPM) { s.manufacture(t) }) }

func newTPM(t testing.TB, prepare func(*TPM)) *TPM {
	t.Helper()
	dir, err := os.MkdirTemp(short(), "tpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &TPM{dir: dir, socket: filepath.Join(dir, "s")}
	s.Device = "unix:" + s.socket
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	prepare(s)
	s.Start(t)
	t.Cleanup(s.end)
	return s
}

// short is a folder with a short name: a socket's path has 107 bytes at most.
func short() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return "/tmp"
}

// manufacture makes the TPM's state, its endorsement key and the certificate of that.
func (s *TPM) manufacture(t testing.TB) {
	t.Helper()
	at := func(name string) string { return filepath.Join(s.dir, name) }
	authority, err := exec.LookPath("swtpm_localca")
	if err != nil {
		t.Fatalf("%v (apt-get install swtpm swtpm-tools)", err)
	}
	if err := os.Mkdir(at("maker"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"setup.conf": fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256\n",
			authority, at("maker.conf"), at("maker.options")),
		"maker.conf": fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/signkey.pem\nissuercert = %[1]s/issuercert.pem\ncertserial = %[1]s/certserial\n",
			at("maker")),
		"maker.options": "--platform-manufacturer sample\n--platform-version 1\n--platform-model sample\n",
	} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	setup := exec.CommandContext(t.Context(), "swtpm_setup", "--tpm2", "--tpmstate", at("state"), "--create-ek-cert", "--config", at("setup.conf"))
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	var both []byte
	for _, name := range []string{"swtpm-localca-rootca-cert.pem", "issuercert.pem"} {
		text, err := os.ReadFile(filepath.Join(at("maker"), name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		s.Makers = append(s.Makers, cert)
		both = append(both, pem.EncodeToMemory(block)...)
	}
	s.MakersFile = at("makers.pem")
	if err := os.WriteFile(s.MakersFile, both, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Start starts the TPM, as when its machine is started.
func (s *TPM) Start(t testing.TB) {
	t.Helper()
	if err := errors.Join(forget(s.socket), forget(s.socket+"c")); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+filepath.Join(s.dir, "state"),
		"--server", "type=unixio,path="+s.socket, "--ctrl", "type=unixio,path="+s.socket+"c", "--flags", "not-need-init,startup-clear")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("%v (apt-get install swtpm swtpm-tools)", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(s.socket); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the software TPM does not come up")
		}
	}
}

func forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Kill ends the TPM in the middle of whatever it does. Start starts it again.
func (s *TPM) Kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // it was killed, which is what this says
}

// Freeze has the TPM answer nothing until Thaw.
func (s *TPM) Freeze(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Thaw has it go on.
func (s *TPM) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *TPM) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *TPM) end() {
	_ = s.cmd.Process.Kill() // it may have been killed already
	_ = s.cmd.Wait()
}

// Do sends commands of the test's own. Nobody else may be connected.
func (s *TPM) Do(t testing.TB, use func(transport.TPM) error) {
	t.Helper()
	conn, err := net.DialTimeout("unix", s.socket, patience)
	if err != nil {
		t.Fatal(err)
	}
	err = conn.SetDeadline(time.Now().Add(patience))
	if err := errors.Join(err, use(transport.FromReadWriter(conn)), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

// Clear gives the TPM another storage seed, as its owner can from the firmware's menu:
// what it made before does not load any more.
func (s *TPM) Clear(t testing.TB) {
	t.Helper()
	s.Do(t, func(tpm transport.TPM) error {
		_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(tpm)
		return err
	})
}

// Own gives the owner hierarchy a password.
func (s *TPM) Own(t testing.TB) {
	t.Helper()
	s.Do(t, func(tpm transport.TPM) error {
		_, err := tpm2.HierarchyChangeAuth{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("somebody else's")},
		}.Execute(tpm)
		return err
	})
}

// Measure extends a register, as other firmware or other settings do.
func (s *TPM) Measure(t testing.TB, pcr uint32) {
	t.Helper()
	s.Do(t, func(tpm transport.TPM) error {
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{
				HashAlg: tpm2.TPMAlgSHA256, Digest: []byte(strings.Repeat("f", 32)),
			}}},
		}.Execute(tpm)
		return err
	})
}

// LockOut has the TPM refuse whatever is protected from guessing: no wrong
// authorisation is let pass any more (TPM2_DictionaryAttackParameters, part 3, 25.3,
// which the library does not have).
func (s *TPM) LockOut(t testing.TB) {
	t.Helper()
	const minute = 60
	command := []byte{0x80, 0x02, 0, 0, 0, 0, 0, 0, 0x01, 0x3a}
	command = binary.BigEndian.AppendUint32(command, uint32(tpm2.TPMRHLockout))
	command = append(command, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // an empty password
	for _, v := range []uint32{0, minute, minute} {                     // tries, recovery of these, recovery of the lockout itself
		command = binary.BigEndian.AppendUint32(command, v)
	}
	binary.BigEndian.PutUint32(command[2:], uint32(len(command)))
	s.Do(t, func(tpm transport.TPM) error {
		answer, err := tpm.Send(command)
		if err != nil {
			return err
		}
		if code := binary.BigEndian.Uint32(answer[6:]); code != 0 {
			return tpm2.TPMRC(code)
		}
		return nil
	})
}
