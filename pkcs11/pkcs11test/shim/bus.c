/*
 * A bus for every token, that only one call at a time can be on, over all processes:
 * what a resource manager makes of a token. A file for each, in a folder.
 */
#include "shim.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* folder is where the files are, 0 when there is no bus. */
static int folder(const struct call *c, char *path, size_t size)
{
	const char *given = getenv("SHIM_BUS"), *rules = getenv("SHIM_RULES");
	int at = 0;
	if (given)
		snprintf(path, size, "%s", given);
	else if (rules && stationwide(c, &at, "bus", NULL))
		snprintf(path, size, "%s.bus", rules);
	else
		return 0;
	mkdir(path, 0700);
	return 1;
}

static int wait_for(const char *path, int how)
{
	int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		abort();
	while (flock(file, how))
		;
	return file;
}

/* visit waits for every token there is, as C_Initialize does that looks at all of them. */
static void visit(const char *path)
{
	char file[4500];
	const struct dirent *e;
	DIR *d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof file, "%s/%s", path, e->d_name);
		close(wait_for(file, LOCK_SH));
	}
	if (d)
		closedir(d);
}

/* a name for a token without a serial, which another bay may have too. */
static unsigned nameless(void)
{
	unsigned h = 5381;
	for (const char *p = getenv("SHIM_RULES"); p && *p; p++)
		h = h * 33 + (unsigned char)*p;
	return h;
}

void take_bus(struct call *c)
{
	char path[4096], file[4500];
	if (!folder(c, path, sizeof path))
		return;
	if (c->which == C_Initialize)
		visit(path);
	/* What a slot is called is known on the host. */
	if (c->place < 0 || c->query || c->which == C_GetSlotInfo || c->which == C_GetSessionInfo)
		return;
	if (c->serial[0])
		snprintf(file, sizeof file, "%s/%s", path, c->serial);
	else
		snprintf(file, sizeof file, "%s/blank-%08x", path, nameless());
	c->bus = wait_for(file, LOCK_EX);
}

void leave_bus(struct call *c)
{
	if (c->bus >= 0)
		close(c->bus);
	c->bus = -1;
}
