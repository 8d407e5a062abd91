/*
 * Linked to the shim beside it, for stations: tells it where its files are, and with -DTIMES
 * that it notes how long calls take. A station gives a module no variables of a test, so
 * they are taken to be beside softhsm2.conf, in the token's bay.
 */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

static void beside(const char *variable, const char *dir, const char *name)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (setenv(variable, path, 1))
		abort();
}

__attribute__((constructor)) static void place(void)
{
	char conf[4096];
	const char *given = getenv("SOFTHSM2_CONF");
	snprintf(conf, sizeof conf, "%s", given ? given : "");
	const char *bay = dirname(conf);
	beside("SHIM_RULES", bay, "rules");
#ifdef TIMES
	beside("SHIM_TIMES", bay, "times");
#endif
	if (setenv("SHIM_MODULE", MODULE, 1))
		abort();
}
