/*
 * Which token is in which slot, and which session is whose.
 *
 * A place (reader) is shown under an id that rules may change, and holds a token
 * that rules may put elsewhere. A session belongs to a place: when another token is
 * put there, the session is that one's, by a session on it that is opened for this.
 */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSIONS = 256, TWINS = 16 };

struct session {
	word handle; /* 0 for none */
	word place, real; /* the place, and the slot behind on which the handle is open */
	word flags;
	int twins;
	struct { word real, handle; } twin[TWINS];
};

static struct session sessions[SESSIONS];

/* The slots behind, as long as nothing can have changed them. */
static struct station home;
static int known;

int takes_slot(int which)
{
	return which >= C_GetSlotInfo && which <= C_InitToken || which == C_OpenSession || which == C_CloseAllSessions;
}

int takes_session(int which)
{
	return which >= C_InitPIN && which <= C_CancelFunction && !takes_slot(which);
}

void forget_slots(void) { known = 0; }

static void serial_of(const struct token_info *info, char *out)
{
	int n = sizeof info->serial;
	while (n > 0 && (info->serial[n - 1] == ' ' || info->serial[n - 1] == 0))
		n--;
	snprintf(out, SERIAL, "%.*s", n, info->serial);
}

static void look(void)
{
	word ids[PLACES], n = PLACES;
	memset(&home, 0, sizeof home);
	if (behind->f[C_GetSlotList](0, (word)ids, (word)&n, 0, 0, 0, 0, 0))
		return; /* not initialised yet, most likely */
	for (word i = 0; i < n; i++) {
		struct token_info info;
		struct place *p = &home.places[home.n];
		p->slot = p->shown = ids[i];
		p->holds = home.n++;
		memset(&info, ' ', sizeof info);
		if (!behind->f[C_GetTokenInfo](ids[i], (word)&info, 0, 0, 0, 0, 0, 0))
			serial_of(&info, p->serial);
	}
	known = 1;
}

static int find_serial(const struct station *s, const char *serial)
{
	for (int i = 0; i < s->n; i++)
		if (!strcmp(s->places[i].serial, strcmp(serial, "-") ? serial : ""))
			return i;
	return -1;
}

int find_shown(const struct station *s, word id)
{
	for (int i = 0; i < s->n; i++)
		if (s->places[i].shown == id)
			return i;
	return -1;
}

static void exchange(struct station *s, int i, int j, int hard)
{
	if (i < 0 || j < 0)
		return;
	struct place *p = &s->places[i], *q = &s->places[j];
	if (hard) {
		int holds = p->holds;
		p->holds = q->holds;
		q->holds = holds;
	} else {
		word shown = p->shown;
		p->shown = q->shown;
		q->shown = shown;
	}
}

/* dealt is a number for a seed and a place in its sequence (splitmix64). */
static uint64_t dealt(uint64_t seed, uint64_t at)
{
	uint64_t z = seed * 0x9e3779b97f4a7c15u + at * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* shuffle deals as of the last call, this one or before, that is the turn of one. */
static void shuffle(struct station *s, const struct rule *r, word call, int hard)
{
	uint64_t seed = strtoul(r->action, NULL, 10) * 2 + hard;
	word every = strtoul(r->argument, NULL, 10);
	while (call && every > 1 && dealt(seed, call) % every)
		call--;
	if (!call)
		return;
	for (int i = s->n - 1; i > 0; i--)
		exchange(s, i, (int)(dealt(seed ^ call << 20, i) % (unsigned)(i + 1)), hard);
}

static void number(struct station *s, int i, word id)
{
	int other = find_shown(s, id);
	if (other >= 0)
		exchange(s, i, other, 0);
	else if (i >= 0)
		s->places[i].shown = id;
}

static void arrange(struct station *s, const struct call *c)
{
	const struct rule *r;
	for (int at = 0; (r = stationwide(c, &at, "token", NULL));)
		if (!strncmp(r->argument, "slot ", 5))
			number(s, find_serial(s, r->action), strtoul(r->argument + 5, NULL, 0));
	for (int hard = 0; hard < 2; hard++) {
		for (int at = 0; (r = stationwide(c, &at, hard ? "swap-hard" : "swap", NULL));)
			if (c->turn >= r->nth)
				exchange(s, find_serial(s, r->action), find_serial(s, r->argument), hard);
		for (int at = 0; (r = stationwide(c, &at, hard ? "shuffle-hard" : "shuffle", NULL));)
			shuffle(s, r, c->turn, hard);
	}
}

/* is_removed tells whether a token is gone, by a rule or by an earlier call. */
int is_removed(struct state *state, const struct call *c, const char *serial)
{
	const struct rule *r;
	for (int at = 0; (r = stationwide(c, &at, "token", NULL));)
		if (!strcmp(r->argument, "removed") && !strcmp(strcmp(r->action, "-") ? r->action : "", serial))
			return 1;
	return token_state(state, serial)->removed;
}

/* survey says where every token is at this call. */
struct station *survey(struct call *c)
{
	static struct station now;
	if (!known)
		look();
	now = home;
	arrange(&now, c);
	return &now;
}

static struct session *find_session(word handle)
{
	for (int i = 0; i < SESSIONS; i++)
		if (sessions[i].handle == handle)
			return &sessions[i];
	return NULL;
}

int session_place(const struct station *s, word handle)
{
	struct session *k = handle ? find_session(handle) : NULL;
	for (int i = 0; k && i < s->n; i++)
		if (s->places[i].slot == k->place)
			return i;
	return -1;
}

/* twin_on is the session on another slot by which this one acts there. */
static word twin_on(struct session *k, word real, int *failed)
{
	word handle;
	for (int i = 0; i < k->twins; i++)
		if (k->twin[i].real == real)
			return k->twin[i].handle;
	*failed = k->twins == TWINS || behind->f[C_OpenSession](real, k->flags, 0, 0, (word)&handle, 0, 0, 0);
	if (*failed)
		return 0;
	k->twin[k->twins].real = real;
	k->twin[k->twins++].handle = handle;
	return handle;
}

/* session_for is the handle behind by which a call acts. */
word session_for(struct call *c, int *failed)
{
	struct session *k = find_session(c->a[0]);
	if (c->place < 0 || !k || c->which == C_CloseSession)
		return c->a[0];
	word real = c->station->places[c->station->places[c->place].holds].slot;
	return real == k->real ? k->handle : twin_on(k, real, failed);
}

static void close_twins(struct session *k)
{
	for (int i = 0; i < k->twins; i++)
		behind->f[C_CloseSession](k->twin[i].handle, 0, 0, 0, 0, 0, 0, 0);
	memset(k, 0, sizeof *k);
}

/* end_sessions closes those in the call's place: they do not outlive their token. */
void end_sessions(const struct call *c)
{
	for (int i = 0; i < SESSIONS; i++) {
		struct session *k = &sessions[i];
		if (!k->handle || k->place != c->station->places[c->place].slot)
			continue;
		behind->f[C_CloseSession](k->handle, 0, 0, 0, 0, 0, 0, 0);
		close_twins(k);
	}
}

static void opened(const struct call *c)
{
	struct session *k = find_session(0);
	if (!k)
		abort(); /* more sessions than the shim has room for */
	const struct place *p = c->station ? &c->station->places[c->place] : NULL;
	k->handle = *(word *)c->a[4];
	k->place = p ? p->slot : c->a[0];
	k->real = p ? c->station->places[p->holds].slot : c->a[0];
	k->flags = c->a[1];
}

/* note_session keeps up with what a call has done to sessions and slots. */
void note_session(struct call *c, word rv)
{
	struct session *k;
	if (c->which == C_Initialize || c->which == C_Finalize) {
		memset(sessions, 0, sizeof sessions);
		forget_slots();
	}
	if (c->which == C_InitToken || c->which == C_WaitForSlotEvent || c->which == C_GetSlotList)
		forget_slots();
	if (rv)
		return;
	if (c->which == C_OpenSession)
		opened(c);
	if (c->which == C_CloseSession && c->a[0] && (k = find_session(c->a[0])))
		close_twins(k);
	if (c->which == C_CloseAllSessions)
		for (int i = 0; i < SESSIONS; i++)
			if (sessions[i].handle && sessions[i].place == (c->place < 0 ? c->a[0] : c->station->places[c->place].slot))
				close_twins(&sessions[i]);
	if (c->which == C_GetSessionInfo && c->place >= 0)
		*(word *)c->a[1] = c->station->places[c->place].shown;
}

/* The ids of slots that are not there are above those of SoftHSM's, which have 31 bits. */
static const word empty_slots = 0x100000000;

/* slot_list is C_GetSlotList of the station as it is arranged. */
word slot_list(struct call *c)
{
	int file, at = 0;
	word n = 0, room = *(word *)c->a[2], *out = (word *)c->a[1], real;
	if (!out) { /* the module behind looks for new slots when it is asked for their number */
		word rv = behind->f[C_GetSlotList](c->a[0], 0, (word)&real, 0, 0, 0, 0, 0);
		if (rv)
			return rv;
		forget_slots();
		c->station = survey(c);
	}
	struct state *s = lock_state(&file);
	for (int i = 0; i < c->station->n; i++) {
		const struct place *p = &c->station->places[i];
		if (c->a[0] & 0xff && is_removed(s, c, c->station->places[p->holds].serial))
			continue;
		if (out && n < room)
			out[n] = p->shown;
		n++;
	}
	unlock_state(file);
	const struct rule *r = stationwide(c, &at, "slots", NULL);
	word all = r && !(c->a[0] & 0xff) ? strtoul(r->action, NULL, 10) : 0;
	for (; n < all; n++)
		if (out && n < room)
			out[n] = empty_slots + n;
	*(word *)c->a[2] = n;
	return out && n > room ? CKR_BUFFER_TOO_SMALL : 0;
}
