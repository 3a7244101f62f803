#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "install.h"

/* The commands whose modules are linked. */
static const char *const VERBS[] = { "create", "delete", "exec", "kill", "list", "ps", "run", "start", "state" };

static const char *name = "ocirun";

void fail(const char *what, const char *why)
{
	(void)dprintf(STDERR_FILENO, "%s: %s: %s\n", name, what, why);
	_exit(1);
}

bool join(char *buffer, const char *directory, const char *rest)
{
	int length = snprintf(buffer, PATH_MAX, "%s/%s", directory, rest);
	return length > 0 && length < PATH_MAX;
}

/* What goes to the end of sys.path: the directory of the package first, then where the packages that it needs may
 * be, one a line. False when the package is nowhere. */
static bool find_packages(const char *prefix, const char *parent, char *paths, size_t size)
{
	char path[PATH_MAX], site[3][PATH_MAX];
	if (!join(site[0], prefix, "lib/" PYTHON "/site-packages") || !join(site[1], prefix, "lib/" PYTHON "/dist-packages") ||
	    !join(site[2], parent, ".venv/lib/" PYTHON "/site-packages"))
		return false;
	const char *const places[] = { site[0], site[1], parent };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!join(path, places[i], "ocirun/cli/__init__.py") || access(path, R_OK) != 0)
			continue;
		int length = i < 2 ? snprintf(paths, size, "%s\n/usr/lib/python3/dist-packages", places[i])
				   : snprintf(paths, size, "%s\n%s\n%s\n/usr/lib/python3/dist-packages", places[i], site[0], site[2]);
		return length > 0 && (size_t)length < size;
	}
	return false;
}

/* A descriptor 0, 1 or 2 that is closed would be given to the first file opened: fill them, as Go's runtime does. */
static void fill_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* The command among the arguments. A flag's value that looks like one costs time and nothing else. */
static const char *find_verb(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		for (size_t verb = 0; verb < sizeof(VERBS) / sizeof(VERBS[0]); verb++)
			if (strcmp(argv[i], VERBS[verb]) == 0)
				return VERBS[verb];
	return "";
}

/* Cut the last component off. */
static bool to_parent(char *path)
{
	char *slash = strrchr(path, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	return true;
}

void find_install(struct install *install, int argc, char **argv)
{
	ssize_t length;

	if (argc > 0)
		name = argv[0];
	fill_stdio();
	length = readlink("/proc/self/exe", install->prefix, sizeof(install->prefix) - 1);
	if (length <= 0)
		fail("read /proc/self/exe", strerror(errno));
	install->prefix[length] = '\0';
	if (!to_parent(install->prefix) || !to_parent(install->prefix))
		fail(install->prefix, "not in the bin directory of an installation");
	strcpy(install->parent, install->prefix);
	if (!to_parent(install->parent))
		install->parent[0] = '\0';
	if (!find_packages(install->prefix, install->parent, install->paths, sizeof(install->paths)))
		fail("no package ocirun for Python " PYTHON_VERSION " beside this program; it was installed in", install->prefix);
	install->verb = find_verb(argc, argv);
}
