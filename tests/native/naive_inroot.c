/* inroot.c as one would write it at first: paths below the root's path, symlinks followed to wherever they lead. The
 * tests show with it that their attacks work. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inroot.h"

static void join(const struct init *init, const char *path, char joined[PATH_MAX])
{
	snprintf(joined, PATH_MAX, "/proc/self/fd/%d/%s", init->root, path);
}

int inroot_open(const struct init *init, const char *path, unsigned flags)
{
	char joined[PATH_MAX];
	int fd;

	(void)flags;
	join(init, path, joined);
	fd = open(joined, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void make_parents(char *joined)
{
	for (char *slash = strchr(joined + strlen("/proc/self/fd/"), '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(joined, 0755);
		*slash = '/';
	}
}

int inroot_directory(const struct init *init, const char *path, mode_t mode, unsigned flags, bool *ret_made)
{
	char joined[PATH_MAX];

	if (ret_made)
		*ret_made = true;
	join(init, path, joined);
	make_parents(joined);
	(void)mkdir(joined, mode);
	return inroot_open(init, path, flags);
}

int inroot_file(const struct init *init, const char *path, mode_t mode, unsigned flags)
{
	char joined[PATH_MAX];
	int fd;

	join(init, path, joined);
	make_parents(joined);
	fd = open(joined, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
	if (fd >= 0)
		close(fd);
	return inroot_open(init, path, flags);
}

int inroot_parent(const struct init *init, const char *path, char name[NAME_MAX + 1])
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(name, NAME_MAX + 1, "%s", slash + 1);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	return inroot_directory(init, parent, 0755, 0, NULL);
}
