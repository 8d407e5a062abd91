package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// module is one C_Initialize of one library. Every Cryptoki call runs under its
// lock: SoftHSM loses races between threads now and then (CKR_SLOT_ID_INVALID),
// and OpenSC serialises them anyway.
type module struct {
	path string
	// reserved is pReserved of C_Initialize, "" for none.
	reserved string

	mu     sync.Mutex
	ctx    *p11.Ctx
	closed bool
	// generation counts C_Initialize; what was opened under an earlier one is void.
	generation int
	// sessions are open, of any token, as far as is known.
	sessions int
}

// Open loads and initialises the PKCS#11 module at an absolute path. One library
// can be open only once in a process. It fails with ErrModuleUnusable, with the
// reason in words, when there is no module to be had at that path, and with the
// code of C_Initialize when the module does not start.
//
// reserved is handed to C_Initialize as pReserved, a NUL-terminated string, which
// the specification leaves unused and NSS takes for its parameters; "" for none.
func Open(path, reserved string) (pkcs11.Module, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	dieByFaults()
	ctx := p11.New(path)
	if ctx == nil {
		return nil, unusable(path, explainLoadFailure(path))
	}
	if why := checkFunctions(path); why != "" {
		return nil, unusable(path, why)
	}
	m := &module{path: path, reserved: reserved, ctx: ctx}
	if err := m.initialise(); err != nil {
		return nil, err
	}
	return m, nil
}

// initialise is C_Initialize with CKF_OS_LOCKING_OK, the binding's default: Go
// moves goroutines between threads.
func (m *module) initialise() error {
	var options []p11.InitializeOption
	if m.reserved != "" {
		text := append([]byte(m.reserved), 0)
		options = append(options, p11.InitializeWithReserved(unsafe.Pointer(&text[0]))) // #nosec G103 -- pReserved is a pointer to text
	}
	return callError("C_Initialize", m.ctx.Initialize(options...))
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return unusable(path, "the path must be absolute")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return unusable(path, "there is no such file")
	case err != nil:
		return unusable(path, err.Error())
	case !info.Mode().IsRegular():
		return unusable(path, "it is not a regular file")
	}
	if why := checkContent(path); why != "" {
		return unusable(path, why)
	}
	return nil
}

func unusable(path, why string) error {
	return &pkcs11.Error{Op: "open module", Kind: pkcs11.ErrModuleUnusable, Detail: path + ": " + why}
}

// callError turns what the binding returns into our vocabulary.
func callError(op string, err error) error {
	if err == nil {
		return nil
	}
	var code p11.Error
	if errors.As(err, &code) {
		return pkcs11.CodeError(op, pkcs11.Code(code))
	}
	return &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: err.Error()}
}

// enter takes the module for one operation; leave gives it back.
func (m *module) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrClosed, Detail: "the module was closed"}
	}
	return nil
}

func (m *module) leave() { m.mu.Unlock() }

// Info implements pkcs11.Module.
func (m *module) Info(ctx context.Context) (pkcs11.ModuleInfo, error) {
	if err := m.enter(ctx, "C_GetInfo"); err != nil {
		return pkcs11.ModuleInfo{}, err
	}
	defer m.leave()
	info, err := m.ctx.GetInfo()
	if err != nil {
		return pkcs11.ModuleInfo{}, callError("C_GetInfo", err)
	}
	return pkcs11.ModuleInfo{
		Manufacturer:    text(info.ManufacturerID),
		Description:     text(info.LibraryDescription),
		LibraryVersion:  version(info.LibraryVersion),
		CryptokiVersion: version(info.CryptokiVersion),
	}, nil
}

// Slots implements pkcs11.Module. A slot whose token cannot be read is listed
// with the fault, so that one bad token does not hide the others.
func (m *module) Slots(ctx context.Context) ([]pkcs11.Slot, error) {
	if err := m.enter(ctx, "C_GetSlotList"); err != nil {
		return nil, err
	}
	defer m.leave()
	ids, err := m.slotList(false)
	if err != nil {
		return nil, err
	}
	slots := make([]pkcs11.Slot, 0, len(ids))
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("C_GetSlotInfo: %w", err)
		}
		info, err := m.ctx.GetSlotInfo(id)
		if err != nil {
			continue // the slot went away after the list was made
		}
		slot := pkcs11.Slot{Description: text(info.SlotDescription)}
		if info.Flags&p11.CKF_TOKEN_PRESENT != 0 {
			m.readToken(id, &slot)
		}
		slots = append(slots, slot)
	}
	return slots, nil
}

func (m *module) readToken(id uint, slot *pkcs11.Slot) {
	token, err := m.tokenInfo(id)
	switch {
	case err == nil:
		slot.Token = &token
	case errors.Is(err, pkcs11.ErrTokenRemoved):
	default:
		if fault, ok := errors.AsType[*pkcs11.Error](err); ok {
			slot.Fault = fault
		}
	}
}

// Open implements pkcs11.Module.
func (m *module) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	const op = "open token"
	if err := m.enter(ctx, op); err != nil {
		return nil, err
	}
	defer m.leave()
	t := &token{m: m, id: id}
	at, err := m.locate(op, id, pkcs11.ErrNotFound)
	if err != nil {
		return nil, err
	}
	t.seen = at.info
	if at.info.Initialized() {
		// Holding a session from here on saves listing all slots again at the
		// next call. No session can be opened on a blank SoftHSM token.
		if err := t.openSession(at.slot); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Close implements pkcs11.Module. The library stays mapped: modules with
// threads of their own crash when unloaded.
func (m *module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return callError("C_Finalize", m.ctx.Finalize())
}

// restart finalises and initialises the module, which some need to show a token
// that was just initialised. All sessions of all tokens are lost by it.
func (m *module) restart() error {
	m.generation++
	m.sessions = 0
	if err := m.ctx.Finalize(); err != nil {
		return callError("C_Finalize", err)
	}
	return m.initialise()
}

// slotList is C_GetSlotList. The binding asks for the number first, which makes
// modules look for new readers, and fails when there are more at its second call.
func (m *module) slotList(tokenPresent bool) ([]uint, error) {
	const tries = 3
	var err error
	for range tries {
		var ids []uint
		if ids, err = m.ctx.GetSlotList(tokenPresent); err == nil {
			return ids, nil
		}
		if !errors.Is(err, p11.Error(p11.CKR_BUFFER_TOO_SMALL)) {
			break
		}
	}
	return nil, callError("C_GetSlotList", err)
}

func (m *module) tokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	info, err := m.ctx.GetTokenInfo(slot)
	if err != nil {
		return pkcs11.TokenInfo{}, callError("C_GetTokenInfo", err)
	}
	return pkcs11.TokenInfo{
		Label:           pkcs11.TokenLabel(text(info.Label)),
		Manufacturer:    text(info.ManufacturerID),
		Model:           text(info.Model),
		Serial:          pkcs11.TokenSerial(text(info.SerialNumber)),
		Flags:           pkcs11.TokenFlags(info.Flags),
		MinPINLen:       pinLength(info.MinPinLen),
		MaxPINLen:       pinLength(info.MaxPinLen),
		HardwareVersion: version(info.HardwareVersion),
		FirmwareVersion: version(info.FirmwareVersion),
	}, nil
}

// text decodes a padded field: UTF-8 and blanks by the specification (section
// 3.1), NULs by some modules.
func text(s string) string { return strings.ToValidUTF8(strings.TrimRight(s, " \x00"), "\uFFFD") }

func version(v p11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// pinLength guards against CK_UNAVAILABLE_INFORMATION and the like, which read as absurd lengths.
func pinLength(n uint) int {
	const absurd = 1 << 16
	if n >= absurd {
		return 0
	}
	return int(n)
}
