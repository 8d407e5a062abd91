//go:build !linux && !windows

package cryptoki

// checkFormat leaves the format to the system's loader.
func checkFormat(string) string { return "" }

// explainLoadFailure has nothing to look with on this system.
func explainLoadFailure(string) string {
	return "it is not a library for this system, not a PKCS#11 module, or a library it needs is missing"
}
