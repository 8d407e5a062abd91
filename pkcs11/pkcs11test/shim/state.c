/* What all processes before one bay have in common, in a file beside the rules. */
#include "shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

/* Without rules there is nothing to have in common. */
static struct state alone;

/*
 * lock_state gives the state for one alone. The file is opened each time: so the
 * lock keeps threads apart as well as processes, and ends with its process.
 */
struct state *lock_state(int *file)
{
	static struct state *shared;
	char path[4096];
	const char *rules = getenv("SHIM_RULES");
	*file = -1;
	if (!rules)
		return &alone;
	snprintf(path, sizeof path, "%s.state", rules);
	*file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*file < 0 || flock(*file, LOCK_EX))
		abort();
	if (!shared) {
		if (ftruncate(*file, sizeof *shared))
			abort();
		shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
		if (shared == MAP_FAILED)
			abort();
	}
	return shared;
}

void unlock_state(int file)
{
	if (file < 0)
		return;
	flock(file, LOCK_UN); /* the mapping keeps the first file open */
	close(file);
}

/* token_state gives what is remembered of a token, the last entry when there are too many. */
struct token_state *token_state(struct state *s, const char *serial)
{
	struct token_state *t = s->tokens;
	for (; t < s->tokens + PLACES - 1 && t->known; t++)
		if (!strcmp(t->serial, serial))
			return t;
	t->known = 1;
	strcpy(t->serial, serial);
	return t;
}
