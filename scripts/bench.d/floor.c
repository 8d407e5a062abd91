/*
 * What a token costs at the least: makes one from a blank SoftHSM token, with the PKCS#11
 * calls that no program can do without, and none besides.
 *
 *   floor MODULE ec-p256|rsa2048 LEAF.der CHAIN.der BAY
 *
 * BAY is a folder with softhsm2.conf and a blank token. Nothing is looked up, read back or
 * checked: the certificates are handed in, and what is signed is a digest of zeros.
 */
#include "pkcs11go.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *p11;

static void want(const char *what, CK_RV rv)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "floor: %s: 0x%lx\n", what, rv);
		exit(1);
	}
}

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s\n", what);
	exit(1);
}

static void load(const char *module)
{
	void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
	CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
	if (!get)
		fail("the module cannot be loaded");
	want("C_GetFunctionList", get(&p11));
	want("C_Initialize", p11->C_Initialize(NULL));
}

static CK_OBJECT_HANDLE generate(CK_SESSION_HANDLE session, int rsa)
{
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	static CK_BYTE id[] = {1}, p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, exponent[] = {1, 0, 1};
	static CK_ULONG bits = 2048;
	CK_MECHANISM mechanism = { rsa ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0 };
	CK_ATTRIBUTE public[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_VERIFY, &yes, sizeof yes}, {CKA_ID, id, sizeof id},
		{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent},
	};
	CK_ATTRIBUTE private[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SENSITIVE, &yes, sizeof yes},
		{CKA_EXTRACTABLE, &no, sizeof no}, {CKA_SIGN, &yes, sizeof yes}, {CKA_ID, id, sizeof id},
	};
	CK_ULONG n = 4;
	CK_OBJECT_HANDLE of_public, of_private;
	if (rsa) {
		public[3] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits};
		n = 5;
	}
	want("C_GenerateKeyPair", p11->C_GenerateKeyPair(session, &mechanism, public, n, private, 6, &of_public, &of_private));

	/* A request cannot be made without the public key. */
	CK_BYTE value[512], more[8];
	CK_ATTRIBUTE asked[] = {
		{rsa ? CKA_MODULUS : CKA_EC_POINT, value, sizeof value}, {CKA_PUBLIC_EXPONENT, more, sizeof more},
	};
	want("C_GetAttributeValue", p11->C_GetAttributeValue(session, of_public, asked, rsa ? 2 : 1));
	return of_private;
}

static void sign(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, int rsa)
{
	/* For PKCS #1 a DigestInfo of SHA-256 has 51 bytes. */
	CK_BYTE digest[51] = {0}, signature[512];
	CK_ULONG length = sizeof signature;
	CK_MECHANISM mechanism = { rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0 };
	want("C_SignInit", p11->C_SignInit(session, &mechanism, key));
	want("C_Sign", p11->C_Sign(session, digest, rsa ? 51 : 32, signature, &length));
}

static void write_certificate(CK_SESSION_HANDLE session, const char *path, int own)
{
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	static CK_OBJECT_CLASS class = CKO_CERTIFICATE;
	static CK_CERTIFICATE_TYPE type = CKC_X_509;
	static CK_BYTE id[] = {1}, other[] = {2};
	CK_BYTE der[8192];
	FILE *f = fopen(path, "rb");
	size_t n = f ? fread(der, 1, sizeof der, f) : 0;
	if (n == 0 || n == sizeof der)
		fail("the certificate cannot be read");
	fclose(f);
	CK_ATTRIBUTE object[] = {
		{CKA_CLASS, &class, sizeof class}, {CKA_CERTIFICATE_TYPE, &type, sizeof type}, {CKA_TOKEN, &yes, sizeof yes},
		{CKA_PRIVATE, &no, sizeof no}, {CKA_ID, own ? id : other, 1}, {CKA_SUBJECT, "", 0}, {CKA_VALUE, der, n},
	};
	CK_OBJECT_HANDLE handle;
	want("C_CreateObject", p11->C_CreateObject(session, object, 7, &handle));
}

int main(int argc, char **argv)
{
	if (argc != 6)
		fail("want MODULE ALGORITHM LEAF CHAIN BAY");
	char conf[4096];
	int rsa = !strcmp(argv[2], "rsa2048");
	CK_UTF8CHAR so[] = "so-pin-of-the-floor", user[] = "12345678", label[32];
	CK_SLOT_ID slot;
	CK_ULONG n = 1;
	CK_SESSION_HANDLE session;

	snprintf(conf, sizeof conf, "%s/softhsm2.conf", argv[5]);
	if (setenv("SOFTHSM2_CONF", conf, 1))
		fail("setenv");
	load(argv[1]);
	memset(label, ' ', sizeof label);
	memcpy(label, "floor", 5);
	want("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, &slot, &n));
	want("C_InitToken", p11->C_InitToken(slot, so, sizeof so - 1, label));
	want("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
	want("C_Login", p11->C_Login(session, CKU_SO, so, sizeof so - 1));
	want("C_InitPIN", p11->C_InitPIN(session, user, sizeof user - 1));
	want("C_Logout", p11->C_Logout(session));
	want("C_Login", p11->C_Login(session, CKU_USER, user, sizeof user - 1));
	CK_OBJECT_HANDLE key = generate(session, rsa);
	sign(session, key, rsa); /* the request */
	write_certificate(session, argv[3], 1);
	write_certificate(session, argv[4], 0);
	sign(session, key, rsa); /* the challenge */
	want("C_CloseSession", p11->C_CloseSession(session));
	want("C_Finalize", p11->C_Finalize(NULL));
	return 0;
}
