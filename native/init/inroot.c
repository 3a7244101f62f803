#define _GNU_SOURCE
#include "inroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"

#define LINKS_MAX 40     /* the kernel's MAXSYMLINKS */
#define RESTARTS_MAX 256 /* ".." and absolute links of one path */
#define AGAIN_MAX 32

enum missing { LEAVE, MAKE_DIRECTORY, MAKE_FILE };

/* openat2(2) gives EAGAIN when a rename or mount anywhere on the machine may have let ".." escape. */
static int resolve(int root, const char *path, unsigned flags)
{
	uint64_t open_flags = O_PATH | O_CLOEXEC | (flags & INROOT_NO_FOLLOW ? O_NOFOLLOW : 0);
	uint64_t how = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (flags & INROOT_NO_SYMLINKS ? RESOLVE_NO_SYMLINKS : 0);
	int fd = -EAGAIN;

	for (int i = 0; i < AGAIN_MAX && fd == -EAGAIN; i++)
		fd = kernel_openat2(root, *path ? path : "/", open_flags, 0, how);
	return fd;
}

/* The same lookup by hand, one component at a time, for kernels and seccomp filters without openat2(2), and to make
 * what is missing. No ".." is ever opened, since a directory that was moved away meanwhile would lead it out of
 * the root: the part of the path that is known so far is shortened instead, and walked again from the root. */
struct walk {
	int root;
	int fd;               /* where we are */
	bool here;            /* fd is the root itself, not ours to close */
	unsigned flags;
	enum missing missing;
	mode_t mode;
	unsigned links, restarts;
	char done[PATH_MAX];  /* from the root to fd, free of symlinks when it was walked */
	char todo[PATH_MAX];
};

static void move_to(struct walk *walk, int fd, bool here)
{
	if (!walk->here)
		close(walk->fd);
	walk->fd = fd;
	walk->here = here;
}

/* Go on with `first` and then the rest of the path, from here or from the root. */
static int redirect(struct walk *walk, const char *first, const char *rest, bool from_root)
{
	char joined[PATH_MAX];
	int n = snprintf(joined, sizeof(joined), "%s%s%s", first, *rest ? "/" : "", rest);

	if (n < 0 || (size_t)n >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(walk->todo, joined, (size_t)n + 1);
	if (from_root) {
		if (++walk->restarts > RESTARTS_MAX)
			return -ELOOP;
		walk->done[0] = '\0';
		move_to(walk, walk->root, true);
	}
	return 0;
}

static int go_up(struct walk *walk, const char *rest)
{
	char *slash = strrchr(walk->done, '/');

	if (!slash) /* ".." of the root is the root */
		return redirect(walk, "", rest, false);
	*slash = '\0';
	return redirect(walk, walk->done, rest, true);
}

static int follow(struct walk *walk, int link, const char *rest, bool last)
{
	char text[PATH_MAX];
	ssize_t n;

	if (walk->flags & INROOT_NO_SYMLINKS || (last && walk->flags & INROOT_NO_FOLLOW) || ++walk->links > LINKS_MAX)
		return -ELOOP;
	n = readlinkat(link, "", text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return redirect(walk, text, rest, text[0] == '/');
}

static int make(const struct walk *walk, const char *name, bool last)
{
	mode_t mode = last ? walk->mode : 0755;
	mode_t old = umask(0);
	int r = last && walk->missing == MAKE_FILE ? mknodat(walk->fd, name, S_IFREG | mode, 0)
						   : mkdirat(walk->fd, name, mode);

	r = r < 0 && errno != EEXIST ? -errno : 0;
	umask(old);
	return r;
}

static int open_here(const struct walk *walk, const char *name)
{
	int fd = openat(walk->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* One component of todo: it is taken off there, and fd goes on to it. */
static int step(struct walk *walk)
{
	char name[NAME_MAX + 1];
	const char *start = walk->todo + strspn(walk->todo, "/");
	size_t length = strcspn(start, "/");
	const char *rest = start + length + strspn(start + length, "/");
	bool last = !*rest;
	struct stat st;
	size_t known;
	int fd, r;

	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, start, length);
	name[length] = '\0';
	if (length == 0 || strcmp(name, ".") == 0)
		return redirect(walk, "", rest, false);
	if (strcmp(name, "..") == 0)
		return go_up(walk, rest);

	fd = open_here(walk, name);
	if (fd == -ENOENT && walk->missing != LEAVE) {
		r = make(walk, name, last);
		if (r < 0)
			return r;
		fd = open_here(walk, name);
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (S_ISLNK(st.st_mode))
		r = follow(walk, fd, rest, last);
	else if (!S_ISDIR(st.st_mode) && !last)
		r = -ENOTDIR;
	else
		r = 1;
	if (r <= 0) {
		close(fd);
		return r;
	}
	known = strlen(walk->done);
	if (known + length + 2 > sizeof(walk->done)) {
		close(fd);
		return -ENAMETOOLONG;
	}
	walk->done[known] = '/';
	memcpy(walk->done + known + 1, name, length + 1);
	move_to(walk, fd, false);
	return redirect(walk, "", rest, false);
}

static int walk_path(int root, const char *path, unsigned flags, enum missing missing, mode_t mode)
{
	struct walk walk; /* its buffers are two pages that need not be zeroed */
	int r = 0;

	if (strlen(path) >= sizeof(walk.todo))
		return -ENAMETOOLONG;
	walk.root = walk.fd = root;
	walk.here = true;
	walk.flags = flags;
	walk.missing = missing;
	walk.mode = mode;
	walk.links = walk.restarts = 0;
	walk.done[0] = '\0';
	strcpy(walk.todo, path);
	while (r == 0 && walk.todo[strspn(walk.todo, "/")])
		r = step(&walk);
	if (r < 0) {
		move_to(&walk, -1, true);
		return r;
	}
	if (!walk.here)
		return walk.fd;
	r = fcntl(root, F_DUPFD_CLOEXEC, 3);
	return r < 0 ? -errno : r;
}

/* Where O_NOFOLLOW stops at a symlink, O_PATH returns a descriptor of it. */
static int refuse_symlink(int fd)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		r = -errno;
	else
		r = S_ISLNK(st.st_mode) ? -ELOOP : fd;
	if (r < 0)
		close(fd);
	return r;
}

int inroot_open(const struct init *init, const char *path, unsigned flags)
{
	int fd = resolve(init->root, path, flags);

	if (lacks(fd) || fd == -EAGAIN)
		fd = walk_path(init->root, path, flags, LEAVE, 0);
	else if (fd >= 0 && flags & INROOT_NO_FOLLOW)
		fd = refuse_symlink(fd);
	return fd;
}

static int open_or_make(const struct init *init, const char *path, unsigned flags, enum missing missing, mode_t mode,
			bool *ret_made)
{
	int fd = inroot_open(init, path, flags);
	bool made = fd == -ENOENT;
	struct stat st;
	int r;

	if (made)
		fd = walk_path(init->root, path, flags, missing, mode);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else
		r = S_ISDIR(st.st_mode) == (missing == MAKE_DIRECTORY) ? fd : -ENOTDIR;
	if (r < 0)
		close(fd);
	else if (ret_made)
		*ret_made = made;
	return r;
}

int inroot_directory(const struct init *init, const char *path, mode_t mode, unsigned flags, bool *ret_made)
{
	return open_or_make(init, path, flags, MAKE_DIRECTORY, mode, ret_made);
}

int inroot_file(const struct init *init, const char *path, mode_t mode, unsigned flags)
{
	return open_or_make(init, path, flags, MAKE_FILE, mode, NULL);
}

int inroot_parent(const struct init *init, const char *path, char name[NAME_MAX + 1])
{
	char parent[PATH_MAX];
	size_t end = strlen(path), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (end - start > NAME_MAX || start >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(name, path + start, end - start);
	name[end - start] = '\0';
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	memcpy(parent, path, start);
	parent[start] = '\0';
	return inroot_directory(init, parent, 0755, 0, NULL);
}
