/* Reading rules, and finding those that are for a call. */
#include "shim.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *function_name(int which);

/* word_of takes a word off a line. */
static void word_of(char **line, char *out, size_t size)
{
	size_t n = 0;
	*line += strspn(*line, " \t");
	while (**line && !isspace((unsigned char)**line)) {
		if (n + 1 < size)
			out[n++] = **line;
		(*line)++;
	}
	out[n] = 0;
}

static void rest_of(char *line, char *out, size_t size)
{
	line += strspn(line, " \t");
	snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
}

/* is_one_of looks for a word in a list that ends in NULL. */
static int is_one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(word, *list))
			return 1;
	return 0;
}

/* is_stationwide tells which rules ask where every token is. */
static int is_stationwide(const char *subject)
{
	static const char *const subjects[] = {
		"token", "swap", "swap-hard", "shuffle", "shuffle-hard", "slots", "bus", NULL,
	};
	return is_one_of(subject, subjects);
}

/* is_rule tells whether a rule means anything: a test whose rule is misspelt must not pass. */
static int is_rule(const struct rule *r)
{
	static const char *const others[] = {"", "generation", "limit", "serial", "nul-padded", "garbage", NULL};
	static const char *const actions[] = {
		"return", "hang", "segv", "abort", "exit", "then", "then-hang", "then-segv", "removed", "then-removed",
		"print", "wait", "serial", "label", "flags", "length", NULL,
	};
	if (is_stationwide(r->subject) || is_one_of(r->subject, others))
		return 1;
	int known = !strcmp(r->subject, "*");
	for (int i = 0; i < COUNT; i++)
		known |= !strcmp(r->subject, function_name(i));
	return known && is_one_of(r->action, actions);
}

static void parse(char *line, struct rules *all, struct rule *r)
{
	char *mark, next[80];
	word_of(&line, r->subject, sizeof r->subject);
	if ((mark = strchr(r->subject, '#'))) {
		*mark = 0;
		r->nth = strtoul(mark + 1, NULL, 10);
	}
	if ((mark = strchr(r->subject, '?'))) {
		*mark = 0;
		r->query = 1;
	}
	if (is_stationwide(r->subject))
		all->stationwide = 1;
	r->any_token = 1;
	word_of(&line, next, sizeof next);
	if (!strncmp(next, "slot=", 5)) {
		r->any_token = 0;
		all->stationwide = 1;
		snprintf(r->token, sizeof r->token, "%.16s", strcmp(next + 5, "-") ? next + 5 : "");
		word_of(&line, next, sizeof next);
	}
	snprintf(r->action, sizeof r->action, "%.31s", next);
	if (!strcmp(r->action, "removed") || !strcmp(r->action, "then-removed"))
		all->stationwide = 1;
	rest_of(line, r->argument, sizeof r->argument);
}

/* read_rules reads all of them, and the number that tells these rules from others. */
void read_rules(struct rules *all, word *generation)
{
	char line[240];
	const char *path = getenv("SHIM_RULES");
	FILE *file = path ? fopen(path, "re") : NULL;

	all->stationwide = getenv("SHIM_BUS") != NULL;
	while (file && all->n < RULES && fgets(line, sizeof line, file)) {
		struct rule *r = &all->r[all->n];
		memset(r, 0, sizeof *r);
		parse(line, all, r);
		if (!is_rule(r)) {
			fprintf(stderr, "the shim does not know the rule: %s", line);
			abort();
		}
		if (!strcmp(r->subject, "generation"))
			*generation = strtoul(r->action, NULL, 10);
		else if (r->subject[0])
			all->n++;
	}
	if (file)
		fclose(file);
}

/* next_rule gives the rules for a call one after another. */
const struct rule *next_rule(const struct call *c, int *at)
{
	while (*at < c->rules.n) {
		const struct rule *r = &c->rules.r[(*at)++];
		int any = !strcmp(r->subject, "*");
		if (!any && strcmp(r->subject, function_name(c->which)))
			continue;
		/* What a length query answers is said without a question mark. */
		if (r->query != c->query && strcmp(r->action, "length"))
			continue;
		if (r->nth && r->nth != (any ? c->any : c->nth))
			continue;
		if (!r->any_token && (c->place < 0 || strcmp(r->token, c->serial)))
			continue;
		return r;
	}
	return NULL;
}

/* stationwide gives the rules that begin so; action NULL for any. */
const struct rule *stationwide(const struct call *c, int *at, const char *subject, const char *action)
{
	while (*at < c->rules.n) {
		const struct rule *r = &c->rules.r[(*at)++];
		if (!strcmp(r->subject, subject) && (!action || !strcmp(r->action, action)))
			return r;
	}
	return NULL;
}
