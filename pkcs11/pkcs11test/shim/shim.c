/*
 * A PKCS#11 module that stands in front of another one and misbehaves on order.
 *
 *   SHIM_MODULE   the module behind it
 *   SHIM_RULES    a file of rules, read at every call: FUNCTION ACTION [ARGUMENT]
 *   SHIM_CALLS    a file to which the name of every function called is appended
 *
 * Actions: return RV (hexadecimal; the module behind is not called), hang, segv,
 * abort, exit STATUS, print TEXT (to standard output and error, then as usual),
 * wait MILLISECONDS (then as usual); and for C_GetTokenInfo, of initialised
 * tokens alone: serial TEXT, label TEXT, flags BITS (hexadecimal, added).
 *
 * All functions are forwarded by one means: eight machine words of arguments,
 * which is the most that any has. The calling conventions of the 64-bit systems
 * that tests run on pass surplus arguments without harm.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word);

/* CK_FUNCTION_LIST of v2.40: a version, padded, then the functions in this order. */
#define FUNCTIONS(X) \
	X(0, C_Initialize) X(1, C_Finalize) X(2, C_GetInfo) X(3, C_GetFunctionList) \
	X(4, C_GetSlotList) X(5, C_GetSlotInfo) X(6, C_GetTokenInfo) X(7, C_GetMechanismList) \
	X(8, C_GetMechanismInfo) X(9, C_InitToken) X(10, C_InitPIN) X(11, C_SetPIN) \
	X(12, C_OpenSession) X(13, C_CloseSession) X(14, C_CloseAllSessions) X(15, C_GetSessionInfo) \
	X(16, C_GetOperationState) X(17, C_SetOperationState) X(18, C_Login) X(19, C_Logout) \
	X(20, C_CreateObject) X(21, C_CopyObject) X(22, C_DestroyObject) X(23, C_GetObjectSize) \
	X(24, C_GetAttributeValue) X(25, C_SetAttributeValue) X(26, C_FindObjectsInit) X(27, C_FindObjects) \
	X(28, C_FindObjectsFinal) X(29, C_EncryptInit) X(30, C_Encrypt) X(31, C_EncryptUpdate) \
	X(32, C_EncryptFinal) X(33, C_DecryptInit) X(34, C_Decrypt) X(35, C_DecryptUpdate) \
	X(36, C_DecryptFinal) X(37, C_DigestInit) X(38, C_Digest) X(39, C_DigestUpdate) \
	X(40, C_DigestKey) X(41, C_DigestFinal) X(42, C_SignInit) X(43, C_Sign) \
	X(44, C_SignUpdate) X(45, C_SignFinal) X(46, C_SignRecoverInit) X(47, C_SignRecover) \
	X(48, C_VerifyInit) X(49, C_Verify) X(50, C_VerifyUpdate) X(51, C_VerifyFinal) \
	X(52, C_VerifyRecoverInit) X(53, C_VerifyRecover) X(54, C_DigestEncryptUpdate) X(55, C_DecryptDigestUpdate) \
	X(56, C_SignEncryptUpdate) X(57, C_DecryptVerifyUpdate) X(58, C_GenerateKey) X(59, C_GenerateKeyPair) \
	X(60, C_WrapKey) X(61, C_UnwrapKey) X(62, C_DeriveKey) X(63, C_SeedRandom) \
	X(64, C_GenerateRandom) X(65, C_GetFunctionStatus) X(66, C_CancelFunction) X(67, C_WaitForSlotEvent)

#define COUNT 68
#define GET_TOKEN_INFO 6

struct list {
	unsigned char version[2];
	function f[COUNT];
};

/* CK_TOKEN_INFO as far as it is altered here. */
struct token_info {
	char label[32], manufacturer[32], model[16], serial[16];
	word flags;
};

static const word token_initialized = 0x400; /* CKF_TOKEN_INITIALIZED */

static struct list *behind;

#define NAME(i, n) [i] = #n,
static const char *const names[COUNT] = { FUNCTIONS(NAME) };

static void note(int which)
{
	const char *path = getenv("SHIM_CALLS");
	FILE *f = path ? fopen(path, "ae") : NULL;
	if (f) {
		fprintf(f, "%s\n", names[which]);
		fclose(f);
	}
}

static void pad(char *field, size_t size, const char *text)
{
	size_t n = strlen(text);
	memset(field, ' ', size);
	memcpy(field, text, n < size ? n : size);
}

static void alter(struct token_info *info, const char *action, const char *argument)
{
	if (!(info->flags & token_initialized))
		return;
	if (!strcmp(action, "serial"))
		pad(info->serial, sizeof info->serial, argument);
	else if (!strcmp(action, "label"))
		pad(info->label, sizeof info->label, argument);
	else if (!strcmp(action, "flags"))
		info->flags |= strtoul(argument, NULL, 16);
}

/* before carries out the rules that come before a call; it is 1 when *rv is the answer already. */
static int before(const char *action, const char *argument, word *rv)
{
	if (!strcmp(action, "return")) {
		*rv = strtoul(argument, NULL, 16);
		return 1;
	}
	if (!strcmp(action, "hang"))
		for (;;)
			pause();
	if (!strcmp(action, "segv"))
		*(volatile int *)(uintptr_t)8 = 0;
	if (!strcmp(action, "abort"))
		abort();
	if (!strcmp(action, "exit"))
		_exit(atoi(argument));
	if (!strcmp(action, "wait"))
		usleep(1000 * (useconds_t)atoi(argument));
	if (!strcmp(action, "print")) {
		printf("%s\n", argument);
		fflush(stdout);
		fprintf(stderr, "%s\n", argument);
	}
	return 0;
}

static word forward(int which, word a, word b, word c, word d, word e, word f, word g, word h)
{
	char rules[16][160];
	int n = 0, i;
	const char *path = getenv("SHIM_RULES");
	FILE *file = path ? fopen(path, "re") : NULL;
	word rv;

	note(which);
	if (file) {
		while (n < 16 && fgets(rules[n], sizeof rules[n], file))
			n++;
		fclose(file);
	}
	for (int pass = 0; pass < 2; pass++) {
		for (i = 0; i < n; i++) {
			char name[64] = "", action[16] = "", argument[80] = "";
			sscanf(rules[i], "%63s %15s %79[^\n]", name, action, argument);
			if (strcmp(name, names[which]))
				continue;
			if (pass == 0 && before(action, argument, &rv))
				return rv;
			if (pass == 1 && which == GET_TOKEN_INFO && rv == 0)
				alter((struct token_info *)b, action, argument);
		}
		if (pass == 0)
			rv = behind->f[which](a, b, c, d, e, f, g, h);
	}
	return rv;
}

#define DEFINE(i, n) \
	static word shim_##n(word a, word b, word c, word d, word e, word f, word g, word h) \
	{ return forward(i, a, b, c, d, e, f, g, h); }
FUNCTIONS(DEFINE)

#define ENTRY(i, n) [i] = shim_##n,
static struct list list = { .version = {2, 40}, .f = { FUNCTIONS(ENTRY) } };

word C_GetFunctionList(struct list **out)
{
	const char *path = getenv("SHIM_MODULE");
	void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	word (*get)(struct list **) = library ? (word (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
	if (!get)
		return 5; /* CKR_GENERAL_ERROR */
	*out = &list;
	return get(&behind);
}
