package cryptoki

/*
#include <windows.h>

// fault is asked about an exception that nothing has handled, before the Go runtime is.
// What happened in this program's own code is left to that. It takes no lock: the loader's
// may be held by a thread that will not run again.
static LONG CALLBACK fault(EXCEPTION_POINTERS *e)
{
	const DWORD code = e->ExceptionRecord->ExceptionCode;
	MEMORY_BASIC_INFORMATION at;
	if (code >> 30 != 3)
		return EXCEPTION_CONTINUE_SEARCH;
	if (VirtualQuery(e->ExceptionRecord->ExceptionAddress, &at, sizeof at) && at.AllocationBase == (void *)GetModuleHandleW(NULL))
		return EXCEPTION_CONTINUE_SEARCH;
	TerminateProcess(GetCurrentProcess(), code);
	return EXCEPTION_CONTINUE_SEARCH;
}

static void watch(void)
{
	static void *watching;
	if (!watching)
		watching = AddVectoredContinueHandler(1, fault);
}
*/
import "C"

// dieByFaults has a fault in a module end this process with the exception as its exit
// code. The Go runtime would exit with status 2, and nobody could tell an access
// violation from anything else.
func dieByFaults() { C.watch() }
