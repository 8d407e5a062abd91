/* What the parts of the shim share. The grammar of rules is at the top of shim.c. */
#ifndef SHIM_H
#define SHIM_H

#include <stddef.h>
#include <stdint.h>

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

#define ORDINAL(i, n) n = i,
enum { FUNCTIONS(ORDINAL) COUNT };

struct list {
	unsigned char version[2];
	function f[COUNT];
};

extern struct list list, *behind;

enum {
	CKR_ARGUMENTS_BAD = 0x7, CKR_SLOT_ID_INVALID = 0x3, CKR_DEVICE_REMOVED = 0x32, CKR_MECHANISM_INVALID = 0x70,
	CKR_PIN_INCORRECT = 0xa0, CKR_PIN_LOCKED = 0xa4, CKR_TOKEN_NOT_PRESENT = 0xe0, CKR_BUFFER_TOO_SMALL = 0x150,
};

/* CK_TOKEN_INFO and CK_SLOT_INFO as far as they are altered here, CK_ATTRIBUTE whole. */
struct token_info {
	char label[32], manufacturer[32], model[16], serial[16];
	word flags;
	word rest[10];
	char versions_and_time[20];
};

struct slot_info {
	char description[64], manufacturer[32];
	word flags;
	unsigned char versions[4];
};

struct attribute {
	word type;
	void *value;
	word length;
};

enum { SERIAL = 17, PLACES = 128 };

/*
 * A place is a reader: a slot of the module behind, by the id it has there. The
 * token that is at home in it is that slot's own.
 */
struct place {
	word slot;         /* its id in the module behind */
	char serial[SERIAL]; /* of the token at home in it, "" for none */
	word shown;        /* the id under which it is shown */
	int holds;         /* the place whose token is in it now */
};

struct station {
	int n;
	struct place places[PLACES];
};

enum { RULES = 64 };

struct rule {
	char subject[64]; /* a function, "*", or what a station-wide rule begins with */
	int query;        /* 1: for length queries */
	word nth;         /* 0: every call */
	char token[SERIAL]; /* "": any */
	int any_token;
	char action[32];
	char argument[160];
};

struct rules {
	int n;
	int stationwide; /* something asks which token is where */
	struct rule r[RULES];
};

/* One call on its way through the shim. */
struct call {
	int which;
	word a[8];
	int query;      /* it asks for a length only */
	word nth, any;  /* how many calls of the function, and of any, there were with it */
	word turn;      /* likewise, length queries never counting */
	int place;      /* the place that it names by slot or session, or -1 */
	int removed;    /* the token in that place is gone */
	char serial[SERIAL]; /* of the token in that place */
	int bus;        /* a file, while the token's bus is held */
	struct station *station;
	struct rules rules;
};

/* rules.c */
void read_rules(struct rules *, word *generation);
const struct rule *next_rule(const struct call *, int *at);
const struct rule *stationwide(const struct call *, int *at, const char *subject, const char *action);

/* state.c: what all processes before one bay have in common. */
struct token_state {
	char serial[SERIAL];
	int known, removed;
	int wrong[2]; /* PINs of the SO and of the user that were wrong in a row */
};

struct state {
	word generation;
	word calls[2][COUNT + 1]; /* since the rules were replaced; length queries apart; last, of any function */
	int removals;
	struct token_state tokens[PLACES];
};

struct state *lock_state(int *file);
void unlock_state(int file);
struct token_state *token_state(struct state *, const char *serial);

/* station.c: which token is in which slot, and which session is whose. */
int takes_slot(int which);
int takes_session(int which);
struct station *survey(struct call *);
int is_removed(struct state *, const struct call *, const char *serial);
void forget_slots(void);
int find_shown(const struct station *, word id);
word slot_list(struct call *);
void note_session(struct call *, word rv);
void end_sessions(const struct call *);
int session_place(const struct station *, word handle);
word session_for(struct call *, int *failed);

/* tokens.c: how tokens show themselves. */
int answers_itself(struct call *, word *rv);
void alter_answer(struct call *, const struct rule *);
void alter_answers(struct call *, word rv);
int pin_locked(const struct call *);
void count_pin(const struct call *, word rv);

/* bus.c */
void take_bus(struct call *);
void leave_bus(struct call *);

#endif
