package worker_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// These tests run where the name says: on Windows, or under wine (wine_test.go), beside a
// module whose path is in this variable. Beside the module is a file with its orders.
const moduleVariable = "USBKEYD_TEST_MODULE"

// asParent makes this program one that has a module's process and is killed: "idle", or
// in the middle of a "call".
const asParent = "USBKEYD_TEST_PARENT"

func TestMain(m *testing.M) {
	worker.ServeIfChild(cryptoki.Open)
	if os.Getenv(asParent) != "" {
		parent()
	}
	os.Exit(m.Run())
}

// orphanLimit is the time that a call of such a parent has.
const orphanLimit = 3 * time.Second

// parent starts a module's process, says which, and waits to be killed.
func parent() {
	p, err := worker.Start(context.Background(), worker.Spec{Path: os.Getenv(moduleVariable), Trust: worker.TrustOwner, Deadlines: worker.Deadlines{Call: orphanLimit}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	if os.Getenv(asParent) == "call" {
		_, err := p.Slots(context.Background())
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

func module(t *testing.T) string {
	t.Helper()
	path := os.Getenv(moduleVariable)
	if path == "" {
		t.Fatalf("%s is not set: scripts/windows runs these tests", moduleVariable)
	}
	return path
}

// order has the module misbehave until the test ends.
func order(t *testing.T, rule string) {
	t.Helper()
	file := module(t) + ".rule"
	if err := os.WriteFile(file, []byte(rule+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	})
}

func begin(t *testing.T, spec worker.Spec) *worker.Process {
	t.Helper()
	spec.Path, spec.Trust = module(t), worker.TrustOwner
	p, err := worker.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestModuleWorks(t *testing.T) {
	p := begin(t, worker.Spec{})
	slots, err := p.Slots(t.Context())
	if err != nil || len(slots) != 1 || slots[0].Token == nil {
		t.Fatalf("slots %+v (%v)", slots, err)
	}
	token, err := p.Open(t.Context(), slots[0].Identity())
	if err != nil {
		t.Fatal(err)
	}
	if m, err := token.Mechanisms(t.Context()); err != nil || len(m) == 0 {
		t.Errorf("mechanisms %v (%v)", m, err)
	}
}

// TestModuleCrashes: what ends the module's process is named, and nothing else ends.
func TestModuleCrashes(t *testing.T) {
	for rule, want := range map[string]string{
		"C_GetSlotList fault":  "access violation",
		"C_GetSlotList jump":   "access violation",
		"C_GetSlotList exit 7": "exit status 7",
	} {
		t.Run(rule, func(t *testing.T) {
			p := begin(t, worker.Spec{})
			order(t, rule)
			if _, err := p.Slots(t.Context()); !errors.Is(err, pkcs11.ErrModuleCrashed) || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want it to say %q", err, want)
			}
		})
	}
	if _, err := begin(t, worker.Spec{}).Slots(t.Context()); err != nil {
		t.Errorf("the next process: %v", err)
	}
}

func TestModuleHangs(t *testing.T) {
	for _, rule := range []string{"C_GetSlotList hang", "DllMain hang"} {
		t.Run(rule, func(t *testing.T) {
			p := begin(t, worker.Spec{Deadlines: worker.Deadlines{Call: 500 * time.Millisecond}})
			order(t, rule)
			begun := time.Now()
			_, err := p.Slots(t.Context())
			if hangs := strings.HasPrefix(rule, "C_"); hangs != errors.Is(err, pkcs11.ErrModuleHung) || !hangs && err != nil {
				t.Errorf("error is %v", err)
			}
			if err := p.Close(); err != nil && !(strings.HasPrefix(rule, "C_") && errors.Is(err, pkcs11.ErrModuleHung)) {
				t.Error(err)
			}
			// A child has so long to end by itself: none of these needs all of it.
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			if alive(p.PID()) {
				t.Error("the process is still there")
			}
		})
	}
}

// TestModulePrints: what a module prints does not get between two answers.
func TestModulePrints(t *testing.T) {
	p := begin(t, worker.Spec{})
	order(t, "C_GetSlotList print garbage on the standard output")
	for range 3 {
		if slots, err := p.Slots(t.Context()); err != nil || len(slots) != 1 {
			t.Fatalf("slots %+v (%v)", slots, err)
		}
	}
}

// TestChildEndsWithItsParent: the pipe's end is the child's, at once between calls; a call
// that is under way has its time first.
func TestChildEndsWithItsParent(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		if took := orphaned(t, "idle"); took > orphanLimit/2 {
			t.Errorf("the child lived for %s", took)
		}
	})
	t.Run("call", func(t *testing.T) {
		order(t, "C_GetSlotList hang")
		if took := orphaned(t, "call"); took < orphanLimit/4 {
			t.Errorf("the call was cut off after %s", took)
		}
	})
}

// orphaned kills a parent and says how long its child lives on.
func orphaned(t *testing.T, kind string) time.Duration {
	t.Helper()
	calls := module(t) + ".calls"
	if err := os.WriteFile(calls, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), asParent+"="+kind)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatalf("%s: %v", line[:n], err)
	}
	if !alive(child) {
		t.Fatal("there is no child")
	}
	for end := time.Now().Add(orphanLimit / 2); kind == "call"; time.Sleep(20 * time.Millisecond) {
		if made, _ := os.ReadFile(calls); strings.Contains(string(made), "C_GetSlotList") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the call has not begun")
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	begun := time.Now()
	for alive(child) {
		if time.Since(begun) > orphanLimit+5*time.Second {
			t.Fatal("the child outlives its parent")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begun)
}

// TestChildIsInAJob: a job is what keeps a module from leaving processes behind. That it
// does (a limit of one process) is for Windows to enforce; wine 8 starts the second one,
// so this test does not show it.
func TestChildIsInAJob(t *testing.T) {
	p := begin(t, worker.Spec{})
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION, false, uint32(p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(h) }()
	var in int32
	ok, _, err := windows.NewLazySystemDLL("kernel32.dll").NewProc("IsProcessInJob").Call(uintptr(h), 0, uintptr(unsafe.Pointer(&in)))
	if ok == 0 {
		t.Fatal(err)
	}
	if in == 0 {
		t.Error("the module's process is in no job")
	}
}

func TestWhoseModuleIsLoaded(t *testing.T) {
	path := module(t)
	everybody := filepath.Join(filepath.Dir(path), "everybody.dll")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(everybody, data, 0o600); err != nil {
		t.Fatal(err)
	}
	openToAll(t, everybody)
	for _, row := range []struct {
		name, path string
		trust      worker.Trust
		want       string
	}{
		{"relative", filepath.Base(path), worker.TrustOwner, "the path must be absolute"},
		{"missing", path + ".missing.dll", worker.TrustOwner, "no such file"},
		{"another machine's", `\\127.0.0.1\share\module.dll`, worker.TrustOwner, "not on a drive of this machine"},
		{"a user's", path, worker.TrustRoot, "belongs to"},
		{"everybody's", everybody, worker.TrustOwner, "can be changed by"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := worker.Start(t.Context(), worker.Spec{Path: row.path, Trust: row.trust})
			if err == nil {
				_ = p.Close()
			}
			if !errors.Is(err, pkcs11.ErrModuleUnusable) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v, want it to say %q", err, row.want)
			}
		})
	}
}

// openToAll lets everybody write a file.
func openToAll(t *testing.T, path string) {
	t.Helper()
	everyone, err := windows.StringToSid("S-1-1-0")
	if err != nil {
		t.Fatal(err)
	}
	list, err := windows.ACLFromEntries([]windows.EXPLICIT_ACCESS{{
		AccessPermissions: windows.GENERIC_ALL, AccessMode: windows.GRANT_ACCESS,
		Trustee: windows.TRUSTEE{TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeType: windows.TRUSTEE_IS_WELL_KNOWN_GROUP, TrusteeValue: windows.TrusteeValueFromSID(everyone)},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, list, nil); err != nil {
		t.Fatal(err)
	}
}

func TestPinnedModule(t *testing.T) {
	data, err := os.ReadFile(module(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	p := begin(t, worker.Spec{SHA256: hex.EncodeToString(sum[:])})
	if _, err := p.Slots(t.Context()); err != nil {
		t.Error(err)
	}
	sum[0] ^= 1
	_, err = worker.Start(t.Context(), worker.Spec{Path: module(t), Trust: worker.TrustOwner, SHA256: hex.EncodeToString(sum[:])})
	if !errors.Is(err, pkcs11.ErrModuleUnusable) || !strings.Contains(err.Error(), "not the configured") {
		t.Errorf("error is %v", err)
	}
}

// alive reports whether a process has not ended.
func alive(pid int) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }()
	event, err := windows.WaitForSingleObject(h, 0)
	return err == nil && event == uint32(windows.WAIT_TIMEOUT)
}
