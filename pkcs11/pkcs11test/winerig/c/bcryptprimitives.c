/*
 * bcryptprimitives.dll as far as the Go runtime wants it, which asks it for random bytes;
 * wine 8 has none.
 */
#include <windows.h>

#define RtlGenRandom SystemFunction036
BOOLEAN WINAPI RtlGenRandom(void *, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *data, SIZE_T length)
{
	return RtlGenRandom(data, (ULONG)length);
}
