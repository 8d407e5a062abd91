package cryptoki

/*
#include <dlfcn.h>
#include <stdlib.h>

// functions gives a module's CK_FUNCTION_LIST; the library stays loaded.
static void *functions(const char *path, unsigned long *rv)
{
	void *list = NULL;
	void *library = dlopen(path, RTLD_LAZY);
	unsigned long (*get)(void **) = library ? (unsigned long (*)(void **))dlsym(library, "C_GetFunctionList") : NULL;
	*rv = get ? get(&list) : 0;
	return get ? list : NULL;
}
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// checkFunctions says which functions the module at a path lacks of those that are
// called here, "" for none. The binding does not look, and calls what is not there:
// the process would end, and nobody be told why. It is asked of a module that the
// binding has loaded.
func checkFunctions(path string) string {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var rv C.ulong
	list := C.functions(name, &rv)
	if rv != 0 {
		return fmt.Sprintf("C_GetFunctionList fails with %s", pkcs11.Code(rv))
	}
	if list == nil {
		return "C_GetFunctionList gives no list"
	}
	// A version comes first, padded to a pointer's size (v2.40, section 3.6).
	entries := (*[1 + lastFunction + 1]unsafe.Pointer)(list)[1:]
	var missing []string
	for _, f := range calledFunctions() {
		if entries[f.at] == nil {
			missing = append(missing, f.name)
		}
	}
	if missing == nil {
		return ""
	}
	return fmt.Sprintf("it lacks %s", strings.Join(missing, ", "))
}

// lastFunction is the highest place of those below.
const lastFunction = 59

type functionAt struct {
	at   int
	name string
}

// calledFunctions are those that this package calls, by their place in
// CK_FUNCTION_LIST (pkcs11f.h of v2.40). A module has every function, as a stub where it
// does not support it (section 5.2); but what is never called may be missing.
func calledFunctions() []functionAt {
	return []functionAt{
		{0, "C_Initialize"}, {1, "C_Finalize"}, {2, "C_GetInfo"}, {4, "C_GetSlotList"}, {5, "C_GetSlotInfo"},
		{6, "C_GetTokenInfo"}, {7, "C_GetMechanismList"}, {8, "C_GetMechanismInfo"}, {9, "C_InitToken"},
		{10, "C_InitPIN"}, {11, "C_SetPIN"}, {12, "C_OpenSession"}, {13, "C_CloseSession"},
		{15, "C_GetSessionInfo"}, {18, "C_Login"}, {19, "C_Logout"}, {20, "C_CreateObject"},
		{22, "C_DestroyObject"}, {24, "C_GetAttributeValue"}, {26, "C_FindObjectsInit"}, {27, "C_FindObjects"},
		{28, "C_FindObjectsFinal"}, {42, "C_SignInit"}, {43, "C_Sign"}, {lastFunction, "C_GenerateKeyPair"},
	}
}
