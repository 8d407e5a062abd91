//go:build rig

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullDisk runs a batch with the state folder on a disk that is too small, in
// a mount namespace of its own, then gives the disk room and runs again. Nothing
// is lost and nothing is made twice.
func TestFullDisk(t *testing.T) {
	const keys = 16
	s := newStation(t, keys, "ec-p256")
	s.Central.Order(t, keys)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(s.Dir, "state")
	usbkeyd := fmt.Sprintf("%s=1 timeout 60 %s --config %s run --drain --log %s/log", runMain, self, s.Config, s.Dir)
	script := strings.Join([]string{
		"set -e",
		"mkdir -m 700 " + state,
		"mount -t tmpfs -o size=640k,mode=700 tmpfs " + state,
		"if " + usbkeyd + "; then echo SMALL-DISK-WAS-ENOUGH; fi",
		"echo FILLED; df -k " + state,
		"mount -o remount,size=64m " + state,
		usbkeyd,
		"cp -r " + state + " " + state + ".copy",
	}, "\n")
	args := []string{"--mount", "sh", "-c", script}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), "unshare", args...).CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	if strings.Contains(string(out), "SMALL-DISK-WAS-ENOUGH") || !strings.Contains(string(out), "the journal cannot be written") {
		t.Errorf("the disk was not full in the middle of the batch:\n%s", out)
	}
	s.CheckBatch(keys)
}
