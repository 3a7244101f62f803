#define _GNU_SOURCE
#include "copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPY_AT_ONCE 0x7ffff000 /* sendfile(2) moves no more */

/* One copy-up: where it is, from the top of both trees, for messages and hard links. */
struct copy {
	struct init *init;
	int top;             /* the new file system */
	char path[PATH_MAX]; /* "" at the top */
	void *links;         /* tsearch(3) tree of struct link: files with several names */
};

/* A file that has been copied, and may come again by another name. */
struct link {
	dev_t device;
	ino_t inode;
	char path[];
};

static int compare_links(const void *one, const void *other)
{
	const struct link *a = one, *b = other;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return a->inode == b->inode ? 0 : a->inode < b->inode ? -1 : 1;
}

/* The name that a file with several names has been copied to; "" the first time, which is noted. NULL without memory. */
static const char *copied_as(struct copy *copy, const struct stat *st)
{
	const size_t size = strlen(copy->path) + 1;
	struct link *link = malloc(sizeof(*link) + size);
	struct link **found;

	if (!link)
		return NULL;
	link->device = st->st_dev;
	link->inode = st->st_ino;
	memcpy(link->path, copy->path, size);
	found = tsearch(link, &copy->links, compare_links);
	if (found && *found == link)
		return "";
	free(link);
	return found ? (*found)->path : NULL;
}

static void forget_links(struct copy *copy)
{
	while (copy->links) {
		struct link *link = *(struct link **)copy->links;

		tdelete(link, &copy->links, compare_links);
		free(link);
	}
}

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

/* The owner, and what of the mode may stay then. Owners that the user namespace has no id for become its root. */
static int copy_owner(int directory, const char *name, int flags, const struct stat *st, mode_t *ret_mode)
{
	*ret_mode = st->st_mode & 07777;
	if (fchownat(directory, name, st->st_uid, st->st_gid, flags) == 0)
		return 0;
	*ret_mode &= ~(mode_t)(S_ISUID | S_ISGID);
	return errno == EINVAL ? 0 : -errno;
}

/* Owner before mode, as chown(2) takes set-user-ID bits away. */
static int copy_status(int from, int to, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	mode_t mode;
	int r = copy_owner(to, "", AT_EMPTY_PATH, st, &mode);

	if (r == 0 && fchmod(to, mode) < 0)
		r = -errno;
	if (r == 0)
		r = copy_attributes(from, to);
	if (r == 0 && futimens(to, times) < 0)
		r = -errno;
	return r;
}

/* As much as the file had when it was opened, without its holes: one that somebody lengthens meanwhile has an end, and
 * a sparse one costs what is in it. */
static int copy_data(int from, int to, off_t size)
{
	off_t at = 0, data, end;
	ssize_t n;

	while (at < size) {
		data = lseek(from, at, SEEK_DATA);
		if (data >= size || (data < 0 && errno == ENXIO))
			break;
		at = data < 0 ? at : data; /* a file system that does not know holes */
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0 || end > size)
			end = size;
		if (lseek(to, at, SEEK_SET) < 0)
			return -errno;
		while (at < end) {
			n = sendfile(to, from, &at, end - at > COPY_AT_ONCE ? COPY_AT_ONCE : (size_t)(end - at));
			if (n < 0 && errno != EINTR)
				return -errno;
			if (n == 0) /* shortened meanwhile */
				return 0;
		}
	}
	return ftruncate(to, size) < 0 ? -errno : 0;
}

static int copy_file(struct copy *copy, int from_directory, int to_directory, const char *name, const struct stat *seen)
{
	const char *first = seen->st_nlink > 1 ? copied_as(copy, seen) : "";
	int from, to, r = 0;
	struct stat st;

	if (!first)
		return -ENOMEM;
	if (*first)
		return linkat(copy->top, first, to_directory, name, 0) < 0 ? -errno : 0;
	from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	to = from < 0 ? -1 : openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		r = -errno;
	if (r == 0 && S_ISREG(st.st_mode))
		r = copy_data(from, to, st.st_size);
	if (r == 0)
		r = copy_status(from, to, &st);
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	return r;
}

static int copy_link(int from_directory, int to_directory, const char *name)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from_directory, name, text, sizeof(text) - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return symlinkat(text, to_directory, name) < 0 ? -errno : 0;
}

/* A symlink, FIFO, socket or device: what has no content. */
static int copy_node(int from_directory, int to_directory, const char *name, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	mode_t mode;
	int r;

	if (S_ISLNK(st->st_mode))
		r = copy_link(from_directory, to_directory, name);
	else
		r = mknodat(to_directory, name, st->st_mode & S_IFMT, st->st_rdev) < 0 ? -errno : 0;
	if (r == -EPERM) /* a device, in a user namespace, where it would not work either */
		return 0;
	if (r == 0)
		r = copy_owner(to_directory, name, AT_SYMLINK_NOFOLLOW, st, &mode);
	if (r == 0 && !S_ISLNK(st->st_mode) && fchmodat(to_directory, name, mode, 0) < 0)
		r = -errno;
	if (r == 0 && utimensat(to_directory, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r;
}

static int copy_tree(struct copy *copy, int parent, const char *name, int to);

static int copy_directory(struct copy *copy, int from, int to, const char *name)
{
	int made, r;

	if (mkdirat(to, name, 0700) < 0)
		return -errno;
	made = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (made < 0)
		return -errno;
	r = copy_tree(copy, from, name, made);
	close(made);
	return r;
}

static int copy_entry(struct copy *copy, int from, int to, const char *name)
{
	const size_t length = strlen(copy->path);
	struct stat st;
	int r;

	if (length + strlen(name) + 2 > sizeof(copy->path))
		return -ENAMETOOLONG;
	snprintf(copy->path + length, sizeof(copy->path) - length, "%s%s", length > 0 ? "/" : "", name);
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	else if (S_ISDIR(st.st_mode))
		r = copy_directory(copy, from, to, name);
	else if (S_ISREG(st.st_mode))
		r = copy_file(copy, from, to, name, &st);
	else
		r = copy_node(from, to, name, &st);
	if (r < 0 && !*copy->init->detail)
		say(copy->init, "copying %s", copy->path);
	copy->path[length] = '\0';
	return r;
}

/* Two descriptors for each level: its own two directories. */
static int copy_tree(struct copy *copy, int parent, const char *name, int to)
{
	int from = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = from < 0 ? NULL : fdopendir(from);
	const struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!directory) {
		r = -errno;
		if (from >= 0)
			close(from);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(directory)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_entry(copy, from, to, entry->d_name);
	if (r == 0 && errno != 0)
		r = -errno;
	/* The top is a mount of the configuration, which says what it is like. */
	if (r == 0 && to != copy->top)
		r = fstat(from, &st) < 0 ? -errno : copy_status(from, to, &st);
	closedir(directory);
	return r;
}

int copy_up_contents(struct init *init, int from, int to)
{
	struct copy copy = {.init = init, .top = to};
	int r = copy_tree(&copy, from, ".", to);

	forget_links(&copy);
	return r;
}
