package qualify_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// TestReading looks at SoftHSM with one token, and leaves that as it is.
func TestReading(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", "12345678", "123456")
	r := qualified(t, reading(bay))
	findsNone(t, r, qualify.Unfit)
	finds(t, r, qualify.OK, "slots", "2 slots, 2 tokens")
	finds(t, r, qualify.OK, "mechanisms", "rsa2048, rsa3072, rsa4096, ec-p256, ec-p384")
	finds(t, r, qualify.Note, "mechanisms", "CKF_HW")
	finds(t, r, qualify.OK, "two processes", "at the same time")
	finds(t, r, qualify.OK, "again", "initialised again")
	finds(t, r, qualify.OK, "PIN lengths", "4 to 255")
	if r.Verdict != "fit with quirks" || !r.Fit || r.State != "" || r.Destroyed != "" {
		t.Errorf("verdict %q, state %q, destroyed %q", r.Verdict, r.State, r.Destroyed)
	}
	if len(r.Tokens) != 2 || r.Tokens[0].Label != "sample" || r.Module.Manufacturer != "SoftHSM" || r.Subject != "token "+r.Tokens[0].Serial {
		t.Errorf("module %+v, tokens %+v, subject %q", r.Module, r.Tokens, r.Subject)
	}
	if p := r.Profile; p == nil || p.Manufacturer != "SoftHSM project" || p.Model != "SoftHSM v2" || p.SOPINLength != 16 || p.KeyGeneration != 180*time.Second {
		t.Errorf("profile %+v", p)
	}
	if len(r.Timings) != 5 {
		t.Errorf("timings %+v", r.Timings)
	}
	for _, a := range r.Algorithms {
		if !a.Claimed || a.Tried || a.Works {
			t.Errorf("algorithm %+v", a)
		}
	}
	if s := slot(t, bay, pkcs11.TokenInfo.Initialized); s.Token.Label != "sample" || !s.Token.Flags.Has(pkcs11.FlagUserPINInitialized) {
		t.Errorf("the token is now %+v", s.Token)
	}
}

// TestSerials: tokens that all show one serial are told apart by their slots.
func TestSerials(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "one", "12345678", "123456")
	bay.InitToken(t, "two", "12345678", "123456")
	if r := qualified(t, reading(bay)); r.Profile == nil || r.Profile.Identity != "serial" {
		t.Errorf("profile of tokens with different serials: %+v", r.Profile)
	}
	shim := pkcs11test.NewShim(t, bay)
	shim.Rules(t, "C_GetTokenInfo serial 0000000000000000")
	r := qualified(t, reading(shim.Bay))
	findsNone(t, r, qualify.Unfit)
	finds(t, r, qualify.Note, "serial", "2 tokens show the same serial")
	if r.Profile == nil || r.Profile.Identity != "reader" || !strings.Contains(r.ProfileYAML, "identity: \"reader\"") {
		t.Errorf("profile %s", r.ProfileYAML)
	}
	shim.Rules(t, "C_GetTokenInfo serial  ")
	finds(t, qualified(t, reading(shim.Bay)), qualify.Unfit, "serial", "no serial")
}

// TestReadingBadModules: each fault is a finding, and the questions after it are asked.
func TestReadingBadModules(t *testing.T) {
	for _, row := range []struct {
		name, rule  string
		severity    qualify.Severity
		probe, says string
		after       string // a probe that was asked all the same
	}{
		{"PIN pad", "C_GetTokenInfo flags 0x100", qualify.Unfit, "flags", "PIN pad", "again"},
		{"write protected", "C_GetTokenInfo flags 0x2", qualify.Unfit, "flags", "write-protected", "again"},
		{"SO PIN locked", "C_GetTokenInfo flags 0x400000", qualify.Note, "flags", "the SO PIN is locked", "again"},
		{"placeholder serial", "C_GetTokenInfo serial 0000000000000000", qualify.Note, "serial", "does not look like one", "again"},
		{"control characters", "C_GetTokenInfo label a\x1bb", qualify.Note, "text", `a\x1bb`, "again"},
		{"not UTF-8", "C_GetTokenInfo label a\xe4\xb8", qualify.Note, "text", "\uFFFD", "again"},
		{"mechanisms crash", "C_GetMechanismList segv", qualify.Unfit, "mechanisms", "crashes the module's process", "again"},
		{"mechanisms hang", "C_GetMechanismInfo hang", qualify.Unfit, "mechanisms", "hangs", "again"},
		{"mechanisms fail", "C_GetMechanismList return 0x30", qualify.Unfit, "mechanisms", "CKR_DEVICE_ERROR", "again"},
		{"does not finalise", "C_Finalize return 0x5", qualify.Note, "again", "another process", "two processes"},
		{"info fails", "C_GetInfo return 0x5", qualify.Unfit, "module", "CKR_GENERAL_ERROR", "again"},
		{"slots fail", "C_GetSlotList return 0x5", qualify.Unfit, "slots", "CKR_GENERAL_ERROR", ""},
		{"does not start", "C_Initialize return 0x5", qualify.Unfit, "start", "CKR_GENERAL_ERROR", ""},
		{"crashes at its start", "C_Initialize abort", qualify.Unfit, "start", "crashes", ""},
		{"empty", "C_GetTokenInfo return 0xe0", qualify.Unfit, "slots", "no token", ""},
		{"unreadable", "C_GetTokenInfo return 0xe1", qualify.Note, "slots", "cannot be read", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bay := pkcs11test.NewBay(t)
			bay.InitToken(t, "sample", "12345678", "123456")
			shim := pkcs11test.NewShim(t, bay)
			shim.Rules(t, row.rule)
			r := qualified(t, within(impatient(), shim.Bay))
			finds(t, r, row.severity, row.probe, row.says)
			if fit := row.severity != qualify.Unfit && row.after != ""; r.Fit != fit || (r.Profile != nil) != fit || strings.HasPrefix(r.Verdict, "not fit: ") == fit {
				t.Errorf("verdict %q, profile %q", r.Verdict, r.ProfileYAML)
			}
			asked := false
			for _, f := range r.Findings {
				asked = asked || f.Probe == row.after
			}
			if row.after != "" && !asked {
				t.Errorf("%s was not asked: %+v", row.after, r.Findings)
			}
		})
	}
}

// TestOneProcessOnly: a module that a second process cannot use beside the first.
func TestOneProcessOnly(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	o := reading(bay)
	start, running := o.Start, 0
	o.Start = func(ctx context.Context) (pkcs11.Module, error) {
		if running > 0 {
			return nil, pkcs11.CodeError("C_Initialize", 0x30)
		}
		m, err := start(ctx)
		if err != nil {
			return nil, err
		}
		running++
		return counted{m, func() { running-- }}, nil
	}
	finds(t, qualified(t, o), qualify.Note, "two processes", "cannot use the module beside the first")
}

type counted struct {
	pkcs11.Module
	closed func()
}

func (c counted) Close() error {
	c.closed()
	return c.Module.Close()
}

// TestNoReaders: a module without a single slot, as OpenSC has without pcscd.
func TestNoReaders(t *testing.T) {
	o := reading(pkcs11test.NewBay(t))
	start := o.Start
	o.Start = func(ctx context.Context) (pkcs11.Module, error) {
		m, err := start(ctx)
		if err != nil {
			return nil, err
		}
		return slotless{m}, nil
	}
	r := qualified(t, o)
	finds(t, r, qualify.Unfit, "slots", "no token is plugged in")
	if r.Fit || r.Profile != nil {
		t.Errorf("verdict %q", r.Verdict)
	}
}

type slotless struct{ pkcs11.Module }

func (slotless) Slots(context.Context) ([]pkcs11.Slot, error) { return nil, nil }

// TestHotPlug pulls and inserts the token when it is asked for.
func TestHotPlug(t *testing.T) {
	for _, row := range []struct {
		name         string
		pull, insert []string
		within       time.Duration
		severity     qualify.Severity
		says         string
	}{
		{"pulled and inserted", []string{"C_GetTokenInfo return 0xe0"}, nil, 30 * time.Second, qualify.OK, "same slot with the same serial"},
		{"never pulled", nil, nil, time.Second, qualify.Note, "pulling the token did not show"},
		{"never inserted", []string{"C_GetTokenInfo return 0xe0"}, []string{"C_GetTokenInfo return 0xe0"}, 2 * time.Second, qualify.Note, "inserting the token did not show"},
		{"inserted as another", []string{"C_GetTokenInfo return 0xe0"}, []string{"C_GetTokenInfo serial 42"}, 2 * time.Second, qualify.Note, "inserting the token did not show"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bay := pkcs11test.NewBay(t)
			bay.InitToken(t, "sample", "12345678", "123456")
			shim := pkcs11test.NewShim(t, bay)
			o := reading(shim.Bay)
			o.HotPlug = row.within
			person := &spoken{hear: func(line string) {
				switch {
				case strings.HasPrefix(line, "pull"):
					shim.Rules(t, row.pull...)
				case strings.HasPrefix(line, "insert"):
					shim.Rules(t, row.insert...)
				}
			}}
			o.Say = person.say
			finds(t, qualified(t, o), row.severity, "hot plug", row.says)
		})
	}
}

func TestNotAModule(t *testing.T) {
	file := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := qualify.Run(t.Context(), reading(pkcs11test.Bay{Path: file}))
	if !errors.Is(err, pkcs11.ErrModuleUnusable) {
		t.Errorf("error is %v", err)
	}
}

// TestStopped: a run that a person stops ends, and what the stop broke off is no finding.
func TestStopped(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	ctx, stop := context.WithCancel(t.Context())
	o := reading(bay)
	o.Say = func(format string, _ ...any) {
		if format == "measuring" {
			stop()
		}
	}
	r, err := qualify.Run(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	findsNone(t, r, qualify.Unfit)
	if r.Profile != nil {
		t.Error("a run that was stopped gives a profile")
	}
}
