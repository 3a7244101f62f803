#define _GNU_SOURCE
#include "op_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"

static bool is_null_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

/* O_NONBLOCK: if this turns into a FIFO between two looks, nobody waits for its other end. */
static int open_null_in(int directory, int flags)
{
	int fd = openat(directory, "null", flags | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (is_null_device(fd))
		return fd;
	return closing(fd, fstat(fd, &st) == 0 && S_ISLNK(st.st_mode) ? -ELOOP : -ENODEV);
}

int open_null_device(struct init *init, int flags)
{
	int directory = inroot_open(init, "/dev", 0);
	int fd, found;

	if (directory < 0)
		return directory;
	found = open_null_in(directory, O_PATH);
	if (found < 0 || flags & O_PATH)
		return closing(directory, found);
	fd = open_null_in(directory, flags | O_NONBLOCK);
	if (fd >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		fd = closing(fd, -errno);
	close(found);
	return closing(directory, fd);
}

int op_mkdir(struct init *init, const struct op_mkdir *op)
{
	int fd = inroot_directory(init, plan_str(&init->plan, op->target), op->mode, 0, NULL);

	return fd < 0 ? fd : closing(fd, 0);
}

int op_symlink(struct init *init, const struct op_symlink *op)
{
	const char *text = plan_str(&init->plan, op->text);
	char name[NAME_MAX + 1];
	int parent = inroot_parent(init, plan_str(&init->plan, op->target), name);
	int r;

	if (parent < 0)
		return parent;
	r = symlinkat(text, parent, name) < 0 ? -errno : 0;
	if (r == -EEXIST && op->replace) {
		r = unlinkat(parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
		if (r == 0)
			r = symlinkat(text, parent, name) < 0 ? -errno : 0;
	} else if (r == -EEXIST) {
		r = 0;
	}
	return closing(parent, r);
}

static mode_t type_of(mode_t mode)
{
	return mode & S_IFMT;
}

static bool is_node(const struct stat *st, const struct op_mknod *op)
{
	bool device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);

	return type_of(st->st_mode) == type_of(op->mode) && (!device || st->st_rdev == makedev(op->major, op->minor));
}

static int make_node(int parent, const char *name, const struct op_mknod *op)
{
	mode_t old = umask(0);
	int r = mknodat(parent, name, op->mode, makedev(op->major, op->minor)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* The host's node of the same path, type and number, where only mknod(2) is forbidden: as runc does. */
static int bind_same_node(struct init *init, const struct op_mknod *op)
{
	const char *path = plan_str(&init->plan, op->target);
	struct bind bind = {.again = path};
	struct stat st;
	int r = -EPERM;

	bind.source = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (bind.source < 0)
		return -EPERM;
	if (fstat(bind.source, &st) == 0 && is_node(&st, op)) {
		bind.target = inroot_file(init, path, 0666, INROOT_NO_FOLLOW);
		r = bind.target < 0 ? bind.target : closing(bind.target, bind_mount(init, &bind));
	}
	return closing(bind.source, r);
}

/* What is there must be what is asked for (config-linux.md, "Devices": "If a file already exists at path that does
 * not match the requested device, the runtime MUST generate an error"). */
static int check_node(struct init *init, const struct op_mknod *op, int parent, const char *name, bool made)
{
	int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!is_node(&st, op)) {
		say(init, "something else than this device is already there");
		r = IN_WORDS;
	} else if (made && (st.st_uid != op->uid || st.st_gid != op->gid) && fchownat(fd, "", op->uid, op->gid, AT_EMPTY_PATH) < 0)
		r = -errno;
	return closing(fd, r);
}

int op_mknod(struct init *init, const struct op_mknod *op)
{
	char name[NAME_MAX + 1];
	int parent = inroot_parent(init, plan_str(&init->plan, op->target), name);
	int r;

	if (parent < 0)
		return parent;
	r = make_node(parent, name, op);
	if (r == -EPERM)
		r = bind_same_node(init, op);
	else if (r == 0 || r == -EEXIST)
		r = check_node(init, op, parent, name, r == 0);
	return closing(parent, r);
}

int op_bind_device(struct init *init, const struct op_bind_device *op)
{
	struct bind bind = {.again = plan_str(&init->plan, op->target)};
	bool opened = op->slot == NO_SLOT;
	struct stat st;
	int r;

	bind.source = opened ? open(plan_str(&init->plan, op->source), O_PATH | O_CLOEXEC) : slot_fd(init, op->slot);
	if (bind.source < 0)
		return opened ? -errno : -EBADF;
	if (fstat(bind.source, &st) < 0)
		r = -errno;
	else if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		r = -ENODEV;
	else
		r = inroot_file(init, bind.again, 0666, INROOT_NO_FOLLOW);
	if (r >= 0) {
		bind.target = r;
		r = closing(bind.target, bind_mount(init, &bind));
	}
	if (opened)
		close(bind.source);
	else
		slot_close(init, op->slot);
	return r;
}
