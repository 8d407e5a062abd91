package pcsc

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// client is the library by which everything reaches pcscd, in all its versions.
const client = "libpcsclite"

// Uses reports whether a module, or a library that it is linked with, names the
// client library of pcscd: as one to be linked with, or as one to open later, as
// OpenSC does. Whether the module will use it the file does not say; and a library
// that is named in a configuration alone is not seen. What cannot be read uses nothing.
func Uses(module string) bool {
	real, err := filepath.EvalSymlinks(module)
	if err != nil {
		return false
	}
	return uses(real, map[string]bool{})
}

func uses(path string, seen map[string]bool) bool {
	if seen[path] {
		return false
	}
	seen[path] = true
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return false
	}
	if bytes.Contains(data, []byte(client)) {
		return true
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return false
	}
	folders := append(ownFolders(f, path), systemFolders()...)
	return slices.ContainsFunc(libraries, func(name string) bool {
		found := find(name, folders)
		return found != "" && uses(found, seen)
	})
}

// ownFolders are those in which a library wants its own libraries to be looked for
// (ld.so(8)), and its own.
func ownFolders(f *elf.File, path string) []string {
	folders := []string{filepath.Dir(path)}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		lists, err := f.DynString(tag)
		if err != nil {
			continue // it has none
		}
		for _, list := range lists {
			for _, folder := range strings.Split(list, ":") {
				folder = strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path)).Replace(folder)
				folders = append(folders, folder)
			}
		}
	}
	return folders
}

// systemFolders are where systems keep libraries; the loader's own list is longer on some.
func systemFolders() []string {
	folders := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}
	multiarch, err := filepath.Glob("/usr/lib/*-linux-*")
	if err != nil {
		return folders
	}
	return append(folders, multiarch...)
}

func find(name string, folders []string) string {
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
	}
	return ""
}
