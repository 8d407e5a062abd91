package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// untrusted says who else could change the file or exchange it on the way; "" when nobody
// can. The path must lead straight to the file: whoever may turn a link would choose what
// is loaded, and not every link shows in an access list.
func untrusted(path string, trust Trust) string {
	if !filepath.IsAbs(path) {
		return "the path must be absolute"
	}
	const elsewhere = "it is not on a drive of this machine, so others may change it: copy it to one"
	if !onDrive(path) {
		return elsewhere // unopened: that would log in to the machine that it names
	}
	real, err := finalPath(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case err != nil:
		return err.Error()
	case !onDrive(real): // a drive may stand for another machine's folder
		return elsewhere
	case !strings.EqualFold(real, filepath.Clean(path)):
		return "there is a link or a short name on the way: name the file itself, " + real
	}
	who, err := trustees(trust)
	if err != nil {
		return err.Error()
	}
	const module, parent, above = 0, 1, 2
	at := real
	for depth := module; ; depth++ {
		sd, err := windows.GetNamedSecurityInfo(at, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		if err != nil {
			return fmt.Sprintf("the access list of %s: %v", at, err)
		}
		rights := changing
		if depth >= above {
			// A new name beside those on the way, as users may make on C:\, exchanges nothing;
			// beside the module it could be a library that the module loads.
			rights &^= windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA
		}
		if why := changeable(sd, who, rights); why != "" {
			return at + " " + why
		}
		next := filepath.Dir(at)
		if next == at {
			return ""
		}
		at = next
	}
}

// onDrive reports whether a path begins with a drive's letter.
func onDrive(path string) bool { return len(filepath.VolumeName(path)) == len("C:") }

// finalPath is where a path leads, without links, short names and substituted drives.
func finalPath(path string) (string, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return "", err
	}
	// Folders open only so.
	h, err := windows.CreateFile(name, windows.READ_CONTROL, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	buf := make([]uint16, windows.MAX_LONG_PATH)
	n, err := windows.GetFinalPathNameByHandle(h, &buf[0], uint32(len(buf)), 0)
	if err != nil {
		return "", err
	}
	if int(n) >= len(buf) {
		return "", windows.ERROR_FILENAME_EXCED_RANGE
	}
	return strings.TrimPrefix(windows.UTF16ToString(buf[:n]), `\\?\`), nil
}

// trustees are those who may change a module: the system, its administrators, what
// installs its updates; with TrustOwner also the user that this program runs as.
func trustees(trust Trust) ([]*windows.SID, error) {
	const trustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
	var who []*windows.SID
	const itsOwner = "S-1-3-4" // in an access list: who that is, is asked first
	for _, text := range []string{"S-1-5-18", "S-1-5-32-544", trustedInstaller, itsOwner} {
		sid, err := windows.StringToSid(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		who = append(who, sid)
	}
	if trust == TrustOwner {
		user, err := windows.GetCurrentProcessToken().GetTokenUser()
		if err != nil {
			return nil, fmt.Errorf("which user this is: %w", err)
		}
		who = append(who, user.User.Sid)
	}
	return who, nil
}

// changing are the rights by which a file can be changed or exchanged, or something put
// beside it (winnt.h).
const changing windows.ACCESS_MASK = windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.FILE_WRITE_EA | fileDeleteChild |
	windows.FILE_WRITE_ATTRIBUTES | windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER |
	windows.GENERIC_WRITE | windows.GENERIC_ALL

const fileDeleteChild = 0x40

// changeable says by whom else than who one file or folder can be changed. Entries that
// deny are left out of account: they only take away.
func changeable(sd *windows.SECURITY_DESCRIPTOR, who []*windows.SID, rights windows.ACCESS_MASK) string {
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return "does not say whose it is"
	}
	if !isOneOf(owner, who) {
		return fmt.Sprintf("belongs to %s, not to the system or its administrators: whoever that is could exchange the module (have an administrator install it, or set trust: owner)", account(owner))
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil {
		return "has no access list, so that everybody can change it"
	}
	for i := range uint32(list.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &entry); err != nil {
			return fmt.Sprintf("has an access list that cannot be read: %v", err)
		}
		const denied, allowedIf, deniedIf = windows.ACCESS_DENIED_ACE_TYPE, 9, 10 // with a condition, after the same fields
		switch entry.Header.AceType {
		case windows.ACCESS_ALLOWED_ACE_TYPE, allowedIf:
		case denied, deniedIf:
			continue
		default:
			return fmt.Sprintf("has an entry of kind %d in its access list, which is not understood", entry.Header.AceType)
		}
		if entry.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 || entry.Mask&rights == 0 {
			continue
		}
		if sid := (*windows.SID)(unsafe.Pointer(&entry.SidStart)); !isOneOf(sid, who) {
			return fmt.Sprintf("can be changed by %s (rights 0x%x): take that right away", account(sid), uint32(entry.Mask&rights))
		}
	}
	return ""
}

func isOneOf(sid *windows.SID, who []*windows.SID) bool {
	for _, w := range who {
		if sid.Equals(w) {
			return true
		}
	}
	return false
}

// account is a SID for people.
func account(sid *windows.SID) string {
	if name, domain, _, err := sid.LookupAccount(""); err == nil {
		return strings.TrimPrefix(domain+`\`+name, `\`)
	}
	return sid.String()
}

// openModule opens the file so that nobody can write, move or delete it meanwhile.
func openModule(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// byDescriptor: the open file itself keeps the path leading to it.
func byDescriptor(f *os.File, path string) (load string, keep *os.File) { return path, f }
