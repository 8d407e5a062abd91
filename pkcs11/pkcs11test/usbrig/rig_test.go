//go:build rig

package usbrig_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/usbrig"
)

func TestScratch(t *testing.T) {
	dir, _ := os.MkdirTemp("", "rig")
	defer os.RemoveAll(dir)
	r, err := usbrig.Start(t.Context(), dir, 2, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	maker, err := pivcard.NewMaker()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pivcard.New(12345678, maker)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Insert(t.Context(), 0, c); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for _, args := range [][]string{
		{"yubico-piv-tool", "-r", "Yubico", "-a", "status"},
		{"pkcs11-tool", "--module", r.Module(), "-L"},
		{"pkcs11-tool", "--module", r.Module(), "-O"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		for k, v := range r.Env() {
			cmd.Env = append(os.Environ(), k+"="+v)
		}
		out, err := cmd.CombinedOutput()
		t.Logf("%v: %v\n%s", args, err, out)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
