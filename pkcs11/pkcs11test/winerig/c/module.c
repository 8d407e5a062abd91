/*
 * A PKCS#11 module for Windows with one slot and one blank token in it, which can be read
 * and not written. It misbehaves on order. Beside the DLL there may be files of its name
 * with an ending:
 *
 *   .rule    read at every call, one line: FUNCTION ACTION [ARGUMENT]. Actions:
 *            hang, fault, jump (to address 0), abort, exit STATUS, print TEXT, wait MS;
 *            and "DllMain hang" for the end of the process
 *   .calls   the name of every function called is appended to it; written by the module
 *   .done    likewise, when the function returns
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* Structures are packed on Windows (PKCS#11 v2.40, section 2.1), and a CK_ULONG has 4 bytes. */
#pragma pack(push, 1)

typedef unsigned long word;
typedef word (*function)(void);

enum { COUNT = 68 };

struct version { unsigned char major, minor; };

struct list {
	struct version version;
	function f[COUNT];
};

struct info {
	struct version cryptoki;
	char manufacturer[32];
	word flags;
	char description[32];
	struct version library;
};

struct slot_info {
	char description[64], manufacturer[32];
	word flags;
	struct version hardware, firmware;
};

struct token_info {
	char label[32], manufacturer[32], model[16], serial[16];
	word flags, max_sessions, sessions, max_rw_sessions, rw_sessions, max_pin, min_pin;
	word public_memory, free_public_memory, private_memory, free_private_memory;
	struct version hardware, firmware;
	char time[16];
};

struct session_info { word slot, state, flags, error; };

struct mechanism_info { word min, max, flags; };

#pragma pack(pop)

enum {
	CKR_SLOT_ID_INVALID = 0x3, CKR_FUNCTION_NOT_SUPPORTED = 0x54, CKR_MECHANISM_INVALID = 0x70,
	CKR_SESSION_HANDLE_INVALID = 0xb3, CKR_BUFFER_TOO_SMALL = 0x150,
	CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0, CKM_RSA_PKCS = 0x1, CKF_HW = 0x1, CKF_SIGN = 0x800, CKF_GENERATE_KEY_PAIR = 0x10000,
	CKF_TOKEN_PRESENT = 0x1, CKF_RNG = 0x1, CKF_LOGIN_REQUIRED = 0x4, CKF_RW_SESSION = 0x2, SLOT = 5,
};

static HINSTANCE self;
static word sessions;

static FILE *beside(const char *ending, const char *mode)
{
	char path[MAX_PATH + 16];
	DWORD n = GetModuleFileNameA(self, path, MAX_PATH);
	snprintf(path + n, sizeof path - n, "%s", ending);
	return fopen(path, mode);
}

static void note(const char *ending, const char *name)
{
	FILE *f = beside(ending, "ab");
	if (f) {
		fprintf(f, "%s\n", name);
		fclose(f);
	}
}

static void hang(void)
{
	for (;;)
		Sleep(INFINITE);
}

/* begin does what the rule orders for a function. */
static void begin(const char *name)
{
	char line[200] = "", subject[64] = "", action[32] = "", argument[100] = "";
	FILE *f = beside(".rule", "rb");
	if (f) {
		if (!fgets(line, sizeof line, f))
			line[0] = 0;
		fclose(f);
	}
	note(".calls", name);
	sscanf(line, "%63s %31s %99[^\r\n]", subject, action, argument);
	if (strcmp(subject, name) != 0)
		return;
	if (!strcmp(action, "hang"))
		hang();
	else if (!strcmp(action, "fault"))
		*(volatile int *)8 = 0;
	else if (!strcmp(action, "jump"))
		((volatile function)0)();
	else if (!strcmp(action, "abort"))
		abort();
	else if (!strcmp(action, "exit"))
		ExitProcess((UINT)atoi(argument));
	else if (!strcmp(action, "wait"))
		Sleep((DWORD)atoi(argument));
	else if (!strcmp(action, "print")) {
		DWORD n;
		printf("%s\n", argument);
		fprintf(stderr, "%s\n", argument);
		fflush(NULL);
		WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), argument, (DWORD)strlen(argument), &n, NULL);
	} else
		abort();
}

static word end(const char *name, word rv)
{
	note(".done", name);
	return rv;
}

#define BEGIN begin(__func__)
#define END(rv) return end(__func__, rv)

static void text(char *field, size_t size, const char *s)
{
	memset(field, ' ', size);
	memcpy(field, s, strlen(s));
}

#define TEXT_FIELD(field, s) text(field, sizeof field, s)

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
	(void)reserved;
	self = instance;
	if (reason == DLL_PROCESS_DETACH)
		begin("DllMain");
	return TRUE;
}

static word C_Initialize(void *args)
{
	(void)args;
	BEGIN;
	END(0);
}

static word C_Finalize(void *reserved)
{
	(void)reserved;
	BEGIN;
	END(0);
}

static word C_GetInfo(struct info *i)
{
	BEGIN;
	memset(i, 0, sizeof *i);
	i->cryptoki.major = 2;
	i->cryptoki.minor = 40;
	TEXT_FIELD(i->manufacturer, "Sample Maker");
	TEXT_FIELD(i->description, "Module for tests on Windows");
	i->library.major = 1;
	END(0);
}

static word C_GetSlotList(unsigned char present, word *slots, word *n)
{
	(void)present;
	BEGIN;
	if (slots) {
		if (*n < 1)
			END(CKR_BUFFER_TOO_SMALL);
		slots[0] = SLOT;
	}
	*n = 1;
	END(0);
}

static word C_GetSlotInfo(word slot, struct slot_info *i)
{
	BEGIN;
	if (slot != SLOT)
		END(CKR_SLOT_ID_INVALID);
	memset(i, 0, sizeof *i);
	TEXT_FIELD(i->description, "Sample reader");
	TEXT_FIELD(i->manufacturer, "Sample Maker");
	i->flags = CKF_TOKEN_PRESENT;
	END(0);
}

static word C_GetTokenInfo(word slot, struct token_info *i)
{
	BEGIN;
	if (slot != SLOT)
		END(CKR_SLOT_ID_INVALID);
	memset(i, 0, sizeof *i);
	TEXT_FIELD(i->label, "");
	TEXT_FIELD(i->manufacturer, "Sample Maker");
	TEXT_FIELD(i->model, "Sample W1");
	TEXT_FIELD(i->serial, "W000000000000001");
	i->flags = CKF_RNG | CKF_LOGIN_REQUIRED;
	i->sessions = sessions;
	i->max_pin = 16;
	i->min_pin = 6;
	i->public_memory = i->free_public_memory = i->private_memory = i->free_private_memory = 65536;
	i->firmware.major = 3;
	END(0);
}

static word C_GetMechanismList(word slot, word *list, word *n)
{
	BEGIN;
	if (slot != SLOT)
		END(CKR_SLOT_ID_INVALID);
	if (list) {
		if (*n < 2)
			END(CKR_BUFFER_TOO_SMALL);
		list[0] = CKM_RSA_PKCS_KEY_PAIR_GEN;
		list[1] = CKM_RSA_PKCS;
	}
	*n = 2;
	END(0);
}

static word C_GetMechanismInfo(word slot, word type, struct mechanism_info *i)
{
	BEGIN;
	if (slot != SLOT)
		END(CKR_SLOT_ID_INVALID);
	if (type != CKM_RSA_PKCS_KEY_PAIR_GEN && type != CKM_RSA_PKCS)
		END(CKR_MECHANISM_INVALID);
	i->min = i->max = 2048;
	i->flags = CKF_HW | (type == CKM_RSA_PKCS ? CKF_SIGN : CKF_GENERATE_KEY_PAIR);
	END(0);
}

static word C_OpenSession(word slot, word flags, void *application, void *notify, word *session)
{
	(void)flags, (void)application, (void)notify;
	BEGIN;
	if (slot != SLOT)
		END(CKR_SLOT_ID_INVALID);
	*session = ++sessions;
	END(0);
}

static word C_CloseSession(word session)
{
	BEGIN;
	END(session && session <= sessions ? 0 : CKR_SESSION_HANDLE_INVALID);
}

static word C_GetSessionInfo(word session, struct session_info *i)
{
	BEGIN;
	if (!session || session > sessions)
		END(CKR_SESSION_HANDLE_INVALID);
	i->slot = SLOT;
	i->state = 2; /* CKS_RW_PUBLIC_SESSION */
	i->flags = CKF_RW_SESSION | 4;
	i->error = 0;
	END(0);
}

static word C_FindObjectsInit(word session, void *template, word n)
{
	(void)session, (void)template, (void)n;
	BEGIN;
	END(0);
}

static word C_FindObjects(word session, word *objects, word max, word *n)
{
	(void)session, (void)objects, (void)max;
	BEGIN;
	*n = 0;
	END(0);
}

static word C_FindObjectsFinal(word session)
{
	(void)session;
	BEGIN;
	END(0);
}

static word not_supported(void) { return CKR_FUNCTION_NOT_SUPPORTED; }

/* Places in CK_FUNCTION_LIST, as pkcs11f.h numbers them. */
__declspec(dllexport) word C_GetFunctionList(struct list **out)
{
	static struct list list;
	list.version.major = 2;
	list.version.minor = 40;
	for (int i = 0; i < COUNT; i++)
		list.f[i] = not_supported;
	list.f[0] = (function)C_Initialize;
	list.f[1] = (function)C_Finalize;
	list.f[2] = (function)C_GetInfo;
	list.f[3] = (function)C_GetFunctionList;
	list.f[4] = (function)C_GetSlotList;
	list.f[5] = (function)C_GetSlotInfo;
	list.f[6] = (function)C_GetTokenInfo;
	list.f[7] = (function)C_GetMechanismList;
	list.f[8] = (function)C_GetMechanismInfo;
	list.f[12] = (function)C_OpenSession;
	list.f[13] = (function)C_CloseSession;
	list.f[15] = (function)C_GetSessionInfo;
	list.f[26] = (function)C_FindObjectsInit;
	list.f[27] = (function)C_FindObjects;
	list.f[28] = (function)C_FindObjectsFinal;
	*out = &list;
	return 0;
}
