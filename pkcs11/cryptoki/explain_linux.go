package cryptoki

import (
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// checkFormat looks at the headers of an ELF file.
func checkFormat(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	f, err := elf.Open(path)
	if err != nil {
		return "it is not a shared library, or was cut short"
	}
	defer f.Close()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM}
	if want, ok := machines[runtime.GOARCH]; ok && f.Machine != want {
		return fmt.Sprintf("it was built for %s, this program for %s: ask its maker for that one", f.Machine, want)
	}
	if f.Type != elf.ET_DYN {
		return "it is not a shared library"
	}
	for _, p := range f.Progs {
		if size := uint64(info.Size()); p.Type == elf.PT_LOAD && (p.Filesz > size || p.Off > size-p.Filesz) {
			return "it was cut short"
		}
	}
	return ""
}

// explainLoadFailure says why the system's loader, or the look for
// C_GetFunctionList, failed; the binding does not tell.
func explainLoadFailure(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return "it is not a shared library"
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	isList := func(s elf.Symbol) bool { return s.Name == "C_GetFunctionList" && s.Section != elf.SHN_UNDEF }
	if err != nil || !slices.ContainsFunc(symbols, isList) {
		return "it is a library but not a PKCS#11 module: it has no C_GetFunctionList"
	}
	beside := func(path string) bool {
		return strings.Contains(path, "$ORIGIN") || strings.Contains(path, "${ORIGIN}")
	}
	runpath, _ := f.DynString(elf.DT_RUNPATH) // without one there is nothing to say
	rpath, _ := f.DynString(elf.DT_RPATH)
	if strings.HasPrefix(path, "/proc/self/fd/") && slices.ContainsFunc(append(runpath, rpath...), beside) {
		return "it looks for other libraries beside itself ($ORIGIN), which a module that is pinned by SHA-256 and trusted as its owner's cannot: have it belong to root and leave out trust: owner, or leave out the pin"
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return "the system's loader refuses it"
	}
	return fmt.Sprintf("the system's loader refuses it; see whether all libraries it needs are installed: %s", strings.Join(needed, ", "))
}
