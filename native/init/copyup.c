#define _GNU_SOURCE
#include "copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPY_AT_ONCE 0x7ffff000 /* sendfile(2) moves no more */

static int copy_attribute(int from, int to, const char *name)
{
	ssize_t size = fgetxattr(from, name, NULL, 0);
	void *value;
	int r = 0;

	if (size < 0)
		return 0;
	value = malloc((size_t)size + 1);
	if (!value)
		return -ENOMEM;
	size = fgetxattr(from, name, value, (size_t)size);
	/* tmpfs has no user.* before Linux 6.6, and a user namespace may not set trusted.*. */
	if (size >= 0 && fsetxattr(to, name, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP && errno != EPERM)
		r = -errno;
	free(value);
	return r;
}

static int copy_attributes(int from, int to)
{
	ssize_t size = flistxattr(from, NULL, 0);
	char *names;
	int r = 0;

	if (size <= 0)
		return 0;
	names = malloc((size_t)size);
	if (!names)
		return -ENOMEM;
	size = flistxattr(from, names, (size_t)size);
	for (ssize_t at = 0; at < size && r == 0; at += (ssize_t)strlen(names + at) + 1)
		r = copy_attribute(from, to, names + at);
	free(names);
	return r;
}

/* Owner before mode, as chown(2) takes set-user-ID bits away. */
static int copy_status(int from, int to, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	int r;

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return -errno;
	r = copy_attributes(from, to);
	if (r == 0 && futimens(to, times) < 0)
		r = -errno;
	return r;
}

static int copy_data(int from, int to)
{
	ssize_t n;

	do
		n = sendfile(to, from, NULL, COPY_AT_ONCE);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

static int copy_file(int from_directory, int to_directory, const char *name)
{
	int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int to = from < 0 ? -1 : openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;
	int r = 0;

	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		r = -errno;
	if (r == 0 && S_ISREG(st.st_mode))
		r = copy_data(from, to);
	if (r == 0)
		r = copy_status(from, to, &st);
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	return r;
}

static int copy_link(int from_directory, int to_directory, const char *name, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	char text[PATH_MAX];
	ssize_t n = readlinkat(from_directory, name, text, sizeof(text) - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (symlinkat(text, to_directory, name) < 0 ||
	    fchownat(to_directory, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(to_directory, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_directory(int from_directory, int to_directory, const char *name)
{
	int from = openat(from_directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int to = -1;
	struct stat st;
	int r = 0;

	if (from < 0 || mkdirat(to_directory, name, 0700) < 0)
		r = -errno;
	if (r == 0) {
		to = openat(to_directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = to < 0 || fstat(from, &st) < 0 ? -errno : copy_up_contents(from, to);
	}
	if (r == 0)
		r = copy_status(from, to, &st);
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	return r;
}

static int copy_entry(int from, int to, const char *name)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return copy_directory(from, to, name);
	if (S_ISREG(st.st_mode))
		return copy_file(from, to, name);
	return S_ISLNK(st.st_mode) ? copy_link(from, to, name, &st) : 0;
}

int copy_up_contents(int from, int to)
{
	int list = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = list < 0 ? NULL : fdopendir(list);
	const struct dirent *entry;
	int r = 0;

	if (!directory) {
		r = -errno;
		if (list >= 0)
			close(list);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(directory)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_entry(from, to, entry->d_name);
	if (r == 0 && errno != 0)
		r = -errno;
	closedir(directory);
	return r;
}
