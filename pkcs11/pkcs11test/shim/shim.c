/*
 * A PKCS#11 module that stands in front of another one and misbehaves on order.
 *
 *   SHIM_MODULE   the module behind it
 *   SHIM_RULES    a file of rules, read at every call
 *   SHIM_CALLS    a file to which the name of every function called is appended
 *   SHIM_TIMES    a file to which a line is appended for every call: the function's name, with a
 *                 question mark when it only asked for a length; when it began, by CLOCK_MONOTONIC,
 *                 and how long it took, what rules had it wait included, both in nanoseconds
 *   SHIM_BUS      a folder: as the rule "bus", for all shims that are given the same one
 *
 * A rule is a line. It holds until the rules are replaced, for all processes. One
 * that means nothing aborts.
 *
 *   FUNCTION[?][#N] [slot=SERIAL] ACTION [ARGUMENT]
 *
 * FUNCTION is a Cryptoki function, or * for any. #N is its N-th call alone, or with
 * *#N the N-th call of all, counted over all processes since the rules were replaced.
 * slot=SERIAL narrows to calls on the slot or a session of that token; - is one
 * without a serial. A call that only asks for a length (C_Sign without a buffer,
 * C_GetAttributeValue without any) is answered on the host by real modules: it is
 * not counted, and rules are for it only when FUNCTION ends in "?".
 *
 * Actions:
 *   return RV        the module behind is not called (RV as strtoul reads it, hexadecimal)
 *   hang, segv, abort, exit STATUS
 *   then RV          the call is made, and RV returned whatever became of it
 *   then-hang, then-segv
 *   removed          from this call on the call's token is gone; all tokens, when it names none
 *   then-removed     likewise, once the call has been made
 *   print TEXT       to standard output and error, then as usual
 *   wait MS          then as usual
 *   serial TEXT, label TEXT, flags BITS     of C_GetTokenInfo, of initialised tokens alone;
 *                    BITS are hexadecimal and added
 *   length N         of C_GetAttributeValue, C_Sign and lists: what a length query answers
 *
 * Station-wide rules begin with no function:
 *   token SERIAL removed         the token is gone; its sessions end when one is used meanwhile
 *   token SERIAL slot N          its slot has the id N
 *   token SERIAL pin-lock N      N wrong PINs in a row lock it; * for every token. Tries are
 *                                remembered over processes, and when the rules are replaced
 *   swap[#N] SERIAL SERIAL       the ids of the two slots are exchanged, from the N-th call of all on;
 *                                sessions stay with their token
 *   swap-hard[#N] SERIAL SERIAL  the tokens are exchanged: sessions act on the other one from now on
 *   shuffle SEED [K]             before every K-th call or so (K = 1) all slot ids are dealt anew
 *   shuffle-hard SEED [K]        so are the tokens to the slots, sessions staying with the slot
 *   limit label N, limit serial N     tokens show no more bytes of it
 *   limit mechanisms             C_GetMechanismList is empty, and no mechanism generates keys
 *   limit mechanism N            that one is missing
 *   serial TEXT                  every token shows it, blank ones too; - for none
 *   slots N                      there are N slots, those over the module's own empty
 *   nul-padded                   fields are padded with NULs
 *   garbage                      labels are not UTF-8
 *   bus                          every token is behind a bus of its own: one call at a time over all
 *                                processes, and C_Initialize waits for every token's
 *
 * All functions are forwarded by one means: eight machine words of arguments,
 * which is the most that any has. The calling conventions of the 64-bit systems
 * that tests run on pass surplus arguments without harm.
 */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct list *behind;

#define NAME(i, n) [i] = #n,
static const char *const names[COUNT] = { FUNCTIONS(NAME) };

const char *function_name(int which) { return names[which]; }

static void note(int which)
{
	const char *path = getenv("SHIM_CALLS");
	FILE *f = path ? fopen(path, "ae") : NULL;
	if (f) {
		fprintf(f, "%s\n", names[which]);
		fclose(f);
	}
}

static long long nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* note_time opens the file for each call, as note does: a process may end in any. */
static void note_time(const struct call *c, long long begun)
{
	const char *path = getenv("SHIM_TIMES");
	long long took = nanoseconds() - begun;
	FILE *f = path ? fopen(path, "ae") : NULL;
	if (f) {
		fprintf(f, "%s%s %lld %lld\n", names[c->which], c->query ? "?" : "", begun, took);
		fclose(f);
	}
}

static void hang(void)
{
	for (;;)
		pause();
}

static void segv(void) { *(volatile int *)(uintptr_t)8 = 0; }

static void wait_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&left, &left))
		;
}

/* is_query tells whether a call only asks how much room its answer needs. */
static int is_query(int which, const word *a)
{
	static const struct { int which, buffer; } buffers[] = {
		{C_GetSlotList, 1}, {C_GetMechanismList, 1}, {C_GetOperationState, 1}, {C_Encrypt, 3}, {C_EncryptFinal, 1},
		{C_Decrypt, 3}, {C_DecryptFinal, 1}, {C_Digest, 3}, {C_DigestFinal, 1}, {C_Sign, 3}, {C_SignFinal, 1},
		{C_SignRecover, 3}, {C_WrapKey, 4},
	};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		if (buffers[i].which == which)
			return a[buffers[i].buffer] == 0;
	if (which != C_GetAttributeValue)
		return 0;
	for (word i = 0; i < a[3]; i++)
		if (((struct attribute *)a[2])[i].value)
			return 0;
	return 1;
}

/* remove_token makes the call's token, or every one, be gone. */
static void remove_token(struct call *c)
{
	int file;
	struct state *s = lock_state(&file);
	for (int i = 0; i < c->station->n; i++) {
		const char *serial = c->station->places[i].serial;
		if (c->place < 0 || !strcmp(serial, c->serial))
			token_state(s, serial)->removed = 1;
	}
	s->removals = 1;
	unlock_state(file);
	c->removed = c->place >= 0;
}

/* before carries out an action that comes before a call; it is 1 when *rv is the answer already. */
static int before(struct call *c, const char *action, const char *argument, word *rv)
{
	if (!strcmp(action, "return")) {
		*rv = strtoul(argument, NULL, 16);
		return 1;
	}
	if (!strcmp(action, "hang"))
		hang();
	if (!strcmp(action, "segv"))
		segv();
	if (!strcmp(action, "abort"))
		abort();
	if (!strcmp(action, "exit"))
		_exit(atoi(argument));
	if (!strcmp(action, "wait"))
		wait_ms(atol(argument));
	if (!strcmp(action, "removed"))
		remove_token(c);
	if (!strcmp(action, "print")) {
		printf("%s\n", argument);
		fflush(stdout);
		fprintf(stderr, "%s\n", argument);
	}
	return 0;
}

/* after carries out an action that comes after a call. */
static void after(struct call *c, const char *action, const char *argument, word *rv)
{
	if (!strcmp(action, "then"))
		*rv = strtoul(argument, NULL, 16);
	if (!strcmp(action, "then-hang"))
		hang();
	if (!strcmp(action, "then-segv"))
		segv();
	if (!strcmp(action, "then-removed")) {
		remove_token(c);
		*rv = takes_session(c->which) ? CKR_DEVICE_REMOVED : CKR_TOKEN_NOT_PRESENT;
	}
}

/* prepare reads the rules, counts the call and finds out which token it is for. */
static void prepare(struct call *c)
{
	int file;
	word generation = 0;
	struct state *s = lock_state(&file);
	read_rules(&c->rules, &generation);
	if (s->generation != generation) {
		s->generation = generation;
		memset(s->calls, 0, sizeof s->calls);
		s->removals = 0;
		for (int i = 0; i < PLACES; i++)
			s->tokens[i].removed = 0;
	}
	c->query = is_query(c->which, c->a);
	c->nth = ++s->calls[c->query][c->which];
	c->any = ++s->calls[c->query][COUNT];
	c->turn = s->calls[0][COUNT];
	c->place = -1;
	c->bus = -1;
	if (c->rules.stationwide || s->removals)
		c->station = survey(c);
	if (c->station && takes_slot(c->which))
		c->place = find_shown(c->station, c->a[0]);
	if (c->station && takes_session(c->which))
		c->place = session_place(c->station, c->a[0]);
	if (c->place >= 0) {
		const struct place *in = &c->station->places[c->station->places[c->place].holds];
		strcpy(c->serial, in->serial);
		c->removed = is_removed(s, c, c->serial);
	}
	unlock_state(file);
}

/* direct makes the call, or answers in the place of a token that is gone, locked or elsewhere. */
static word direct(struct call *c)
{
	word rv;
	int failed = 0;
	if (c->removed && takes_session(c->which)) {
		end_sessions(c);
		return CKR_DEVICE_REMOVED;
	}
	if (c->removed && takes_slot(c->which) && c->which != C_GetSlotInfo)
		return CKR_TOKEN_NOT_PRESENT;
	if (answers_itself(c, &rv))
		return rv;
	if (c->station && c->which == C_GetSlotList)
		return slot_list(c);
	word a0 = c->a[0];
	if (c->station && takes_slot(c->which)) {
		if (c->place < 0)
			return CKR_SLOT_ID_INVALID;
		const struct place *p = &c->station->places[c->place];
		/* What a reader is called does not move with its token. */
		a0 = c->which == C_GetSlotInfo ? p->slot : c->station->places[p->holds].slot;
	}
	if (c->station && takes_session(c->which))
		a0 = session_for(c, &failed);
	if (failed)
		return CKR_DEVICE_REMOVED;
	if (pin_locked(c))
		return CKR_PIN_LOCKED;
	rv = behind->f[c->which](a0, c->a[1], c->a[2], c->a[3], c->a[4], c->a[5], c->a[6], c->a[7]);
	count_pin(c, rv);
	note_session(c, rv);
	alter_answers(c, rv);
	return rv;
}

/* by_the_rules makes a call as the rules want it. */
static word by_the_rules(struct call *c)
{
	const struct rule *r;
	word rv;

	take_bus(c);
	for (int at = 0; (r = next_rule(c, &at));)
		if (before(c, r->action, r->argument, &rv)) {
			leave_bus(c);
			return rv;
		}
	rv = direct(c);
	for (int at = 0; (r = next_rule(c, &at));) {
		if (rv == 0)
			alter_answer(c, r);
		after(c, r->action, r->argument, &rv);
	}
	leave_bus(c);
	return rv;
}

static word forward(int which, word a, word b, word c, word d, word e, word f, word g, word h)
{
	struct call call = { .which = which, .a = {a, b, c, d, e, f, g, h} };
	long long begun;
	word rv;

	note(which);
	prepare(&call);
	begun = nanoseconds();
	rv = by_the_rules(&call);
	note_time(&call, begun);
	return rv;
}

#define DEFINE(i, n) \
	static word shim_##n(word a, word b, word c, word d, word e, word f, word g, word h) \
	{ return forward(i, a, b, c, d, e, f, g, h); }
FUNCTIONS(DEFINE)

#define ENTRY(i, n) [i] = shim_##n,
struct list list = { .version = {2, 40}, .f = { FUNCTIONS(ENTRY) } };
