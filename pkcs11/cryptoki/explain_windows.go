package cryptoki

import (
	"debug/pe"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// checkFormat looks at the headers of a DLL, and at what of its name the binding can pass on.
func checkFormat(path string) string {
	for _, r := range path {
		if r > '~' {
			return "its path must be plain ASCII on Windows; copy it to a folder with such a name"
		}
	}
	f, err := pe.Open(path)
	if err != nil {
		return "it is not a DLL, or was cut short"
	}
	defer f.Close()
	machines := map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64, "arm64": pe.IMAGE_FILE_MACHINE_ARM64, "386": pe.IMAGE_FILE_MACHINE_I386}
	if want, ok := machines[runtime.GOARCH]; ok && f.Machine != want {
		return fmt.Sprintf("it was built for %s, this program for %s: ask its maker for that one", machine(f.Machine), machine(want))
	}
	if f.Characteristics&pe.IMAGE_FILE_DLL == 0 {
		return "it is not a DLL"
	}
	return ""
}

func machine(m uint16) string {
	switch m {
	case pe.IMAGE_FILE_MACHINE_AMD64:
		return "64-bit x86"
	case pe.IMAGE_FILE_MACHINE_ARM64:
		return "64-bit ARM"
	case pe.IMAGE_FILE_MACHINE_I386:
		return "32-bit x86"
	default:
		return fmt.Sprintf("machine 0x%x", m)
	}
}

// explainLoadFailure names what the loader may have missed; the binding does not tell.
func explainLoadFailure(path string) string {
	const unknown = "it is not a PKCS#11 module (no C_GetFunctionList), or a library it needs is missing"
	f, err := pe.Open(path)
	if err != nil {
		return unknown
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols() // each as name:library
	if err != nil || len(symbols) == 0 {
		return unknown
	}
	var needed []string
	for _, s := range symbols {
		needed = append(needed, s[strings.LastIndex(s, ":")+1:])
	}
	slices.Sort(needed)
	return fmt.Sprintf("%s; it needs, beside it or in the system's folder: %s", unknown, strings.Join(slices.Compact(needed), ", "))
}
