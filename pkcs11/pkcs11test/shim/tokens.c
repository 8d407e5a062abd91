/* How tokens show themselves: their fields, their mechanisms, the tries of their PINs. */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CKF_TOKEN_PRESENT = 0x1, CKF_REMOVABLE = 0x2, CKF_TOKEN_INITIALIZED = 0x400 };
enum { CKS_RW_USER_FUNCTIONS = 3, CKS_RW_SO_FUNCTIONS = 4 };
enum { SO, USER };

static void pad(char *field, size_t size, const char *text)
{
	size_t n = strlen(text);
	memset(field, ' ', size);
	memcpy(field, text, n < size ? n : size);
}

static void cut(char *field, size_t size, size_t n)
{
	if (n < size)
		memset(field + n, ' ', size - n);
}

static void pad_with_nuls(char *field, size_t size)
{
	while (size > 0 && field[size - 1] == ' ')
		field[--size] = 0;
}

/* is_missing tells whether a rule takes a mechanism away. */
static int is_missing(const struct call *c, word mechanism)
{
	const struct rule *r;
	int at = 0;
	if (stationwide(c, &at, "limit", "mechanisms"))
		return 1;
	for (at = 0; (r = stationwide(c, &at, "limit", "mechanism"));)
		if (strtoul(r->argument, NULL, 0) == mechanism)
			return 1;
	return 0;
}

static word empty_slot(struct call *c)
{
	struct slot_info *info = (struct slot_info *)c->a[1];
	char name[80];
	if (c->which != C_GetSlotInfo)
		return CKR_TOKEN_NOT_PRESENT;
	memset(info, 0, sizeof *info);
	snprintf(name, sizeof name, "An empty reader with a name that takes all the room it has %06u", (unsigned)c->a[0]);
	pad(info->description, sizeof info->description, name);
	pad(info->manufacturer, sizeof info->manufacturer, "shim");
	info->flags = CKF_REMOVABLE;
	return 0;
}

/* answers_itself is 1 when the module behind is not to be asked, which knows nothing of it. */
int answers_itself(struct call *c, word *rv)
{
	int at = 0;
	if (c->station && takes_slot(c->which) && c->place < 0 && c->a[0] >> 32 && stationwide(c, &at, "slots", NULL)) {
		*rv = empty_slot(c);
		return 1;
	}
	at = 0;
	if (c->which == C_GetMechanismList && stationwide(c, &at, "limit", "mechanisms")) {
		*(word *)c->a[2] = 0;
		*rv = 0;
		return 1;
	}
	if (c->which == C_GetMechanismInfo && is_missing(c, c->a[1]) ||
	    (c->which == C_GenerateKeyPair || c->which == C_GenerateKey) && is_missing(c, *(word *)c->a[1])) {
		*rv = CKR_MECHANISM_INVALID;
		return 1;
	}
	return 0;
}

static void alter_fields(struct token_info *info, const char *action, const char *argument)
{
	if (!(info->flags & CKF_TOKEN_INITIALIZED))
		return;
	if (!strcmp(action, "serial"))
		pad(info->serial, sizeof info->serial, argument);
	else if (!strcmp(action, "label"))
		pad(info->label, sizeof info->label, argument);
	else if (!strcmp(action, "flags"))
		info->flags |= strtoul(argument, NULL, 16);
}

/* alter_answer carries out a rule that changes what a call has answered. */
void alter_answer(struct call *c, const struct rule *r)
{
	if (c->which == C_GetTokenInfo)
		alter_fields((struct token_info *)c->a[1], r->action, r->argument);
	if (strcmp(r->action, "length") || !c->query)
		return;
	word length = strtoul(r->argument, NULL, 0);
	if (c->which == C_Sign)
		*(word *)c->a[4] = length;
	if (c->which == C_GetSlotList || c->which == C_GetMechanismList)
		*(word *)c->a[2] = length;
	for (word i = 0; c->which == C_GetAttributeValue && i < c->a[3]; i++)
		((struct attribute *)c->a[2])[i].length = length;
}

/* tries is how many wrong PINs lock the call's token, 0 for any number. */
static int tries(const struct call *c)
{
	const struct rule *r;
	for (int at = 0; (r = stationwide(c, &at, "token", NULL));)
		if (!strncmp(r->argument, "pin-lock ", 9) && (!strcmp(r->action, "*") || !strcmp(r->action, c->serial)))
			return atoi(r->argument + 9);
	return 0;
}

static struct token_state remembered(const struct call *c)
{
	int file;
	struct token_state t = *token_state(lock_state(&file), c->serial);
	unlock_state(file);
	return t;
}

/* logged_in is who C_SetPIN would change the PIN of. */
static int logged_in(const struct call *c)
{
	word info[4] = {0};
	behind->f[C_GetSessionInfo](c->a[0], (word)info, 0, 0, 0, 0, 0, 0);
	return info[1] == CKS_RW_SO_FUNCTIONS ? SO : USER;
}

/* whose is the PIN that a call spends a try of, or -1. */
static int whose(const struct call *c)
{
	if (c->which == C_Login)
		return c->a[1] == SO || c->a[1] == USER ? (int)c->a[1] : -1;
	if (c->which == C_InitToken)
		return SO;
	return c->which == C_SetPIN ? logged_in(c) : -1;
}

int pin_locked(const struct call *c)
{
	int limit = c->place >= 0 ? tries(c) : 0, who = limit ? whose(c) : -1;
	return who >= 0 && remembered(c).wrong[who] >= limit;
}

/* count_pin notes what a call has done to the tries of a PIN. */
void count_pin(const struct call *c, word rv)
{
	int file, who = c->place >= 0 && tries(c) ? whose(c) : -1;
	int unlocked = c->place >= 0 && rv == 0 && (c->which == C_InitPIN || c->which == C_InitToken);
	if (who < 0 && !unlocked)
		return;
	struct token_state *t = token_state(lock_state(&file), c->serial);
	if (who >= 0 && rv == CKR_PIN_INCORRECT)
		t->wrong[who]++;
	if (who >= 0 && rv == 0)
		t->wrong[who] = 0;
	if (unlocked)
		t->wrong[USER] = 0;
	unlock_state(file);
}

/* show_tries sets the flags of CK_TOKEN_INFO (v2.40, table 12), the SO's 16 times the user's. */
static void show_tries(const struct call *c, struct token_info *info)
{
	enum { COUNT_LOW = 0x10000, FINAL_TRY = 0x20000, LOCKED = 0x40000, SO_SHIFT = 4 };
	int limit = c->place >= 0 ? tries(c) : 0;
	if (!limit)
		return;
	struct token_state t = remembered(c);
	for (int who = SO; who <= USER; who++) {
		word flags = t.wrong[who] ? COUNT_LOW : 0;
		if (t.wrong[who] >= limit)
			flags |= LOCKED;
		else if (t.wrong[who] == limit - 1)
			flags |= FINAL_TRY;
		info->flags |= who == SO ? flags << SO_SHIFT : flags;
	}
}

static void alter_token(const struct call *c, struct token_info *info)
{
	const struct rule *r;
	int at = 0;
	show_tries(c, info);
	if ((r = stationwide(c, &at, "serial", NULL)))
		pad(info->serial, sizeof info->serial, strcmp(r->action, "-") ? r->action : "");
	at = 0;
	if ((r = stationwide(c, &at, "limit", "label")))
		cut(info->label, sizeof info->label, strtoul(r->argument, NULL, 10));
	at = 0;
	if ((r = stationwide(c, &at, "limit", "serial")))
		cut(info->serial, sizeof info->serial, strtoul(r->argument, NULL, 10));
	at = 0;
	if (stationwide(c, &at, "garbage", NULL))
		pad(info->label, sizeof info->label, "M\xfcller \xe4\xb8 \xff");
}

static void alter_mechanisms(const struct call *c)
{
	word *list = (word *)c->a[1], *n = (word *)c->a[2], kept = 0;
	if (!list)
		return;
	for (word i = 0; i < *n; i++)
		if (!is_missing(c, list[i]))
			list[kept++] = list[i];
	*n = kept;
}

/* alter_answers carries out the station-wide rules that change what a call has answered. */
void alter_answers(struct call *c, word rv)
{
	enum { INFO_MANUFACTURER = 2, INFO_DESCRIPTION = 48 }; /* where CK_INFO has them */
	int at = 0, nuls = stationwide(c, &at, "nul-padded", NULL) != NULL;
	if (rv)
		return;
	if (c->which == C_GetMechanismList)
		alter_mechanisms(c);
	if (c->which == C_GetTokenInfo) {
		struct token_info *info = (struct token_info *)c->a[1];
		alter_token(c, info);
		if (nuls) {
			pad_with_nuls(info->label, sizeof info->label);
			pad_with_nuls(info->manufacturer, sizeof info->manufacturer);
			pad_with_nuls(info->model, sizeof info->model);
			pad_with_nuls(info->serial, sizeof info->serial);
		}
	}
	if (c->which == C_GetSlotInfo) {
		struct slot_info *info = (struct slot_info *)c->a[1];
		if (c->removed)
			info->flags &= ~(word)CKF_TOKEN_PRESENT;
		if (nuls) {
			pad_with_nuls(info->description, sizeof info->description);
			pad_with_nuls(info->manufacturer, sizeof info->manufacturer);
		}
	}
	if (c->which == C_GetInfo && nuls) {
		pad_with_nuls((char *)c->a[0] + INFO_MANUFACTURER, 32);
		pad_with_nuls((char *)c->a[0] + INFO_DESCRIPTION, 32);
	}
}
