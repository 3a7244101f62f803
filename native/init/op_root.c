#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "init.h"
#include "kernel.h"

static int open_directory(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int op_enter_root(struct init *init, const struct op_enter_root *op)
{
	return chdir(plan_str(&init->plan, op->path)) < 0 ? -errno : 0;
}

/* The mount that the working directory lies on, made private: pivot_root(2) and MS_MOVE refuse a shared parent, and
 * the root's mount must not travel to the peers. Its root is found by going up until mount(2) takes ".". */
static int make_parent_private(const struct init *init)
{
	int back = open_directory(".", O_PATH);
	struct stat here, above;
	int r;

	if (back < 0)
		return back;
	for (;;) {
		r = kernel_mount(NULL, ".", NULL, MS_PRIVATE, NULL);
		if (r != -EINVAL)
			break;
		if (stat(".", &here) < 0 || chdir("..") < 0 || stat(".", &above) < 0) {
			/* A user namespace whose root may not go there: its mounts are slaves, at most, of the host's. */
			r = errno == EACCES && init->user_namespace ? 0 : -errno;
			break;
		}
		/* "/" is no mount: whoever put us into a chroot decides what pivot_root will say. */
		if (here.st_dev == above.st_dev && here.st_ino == above.st_ino) {
			r = 0;
			break;
		}
	}
	if (fchdir(back) < 0 && r == 0)
		r = -errno;
	return closing(back, r);
}

/* Without open_tree(2): a bind mount of the working directory over itself, found again by its path. */
static int bind_root(const char *path)
{
	struct stat below, above;
	int r = kernel_mount(".", ".", NULL, MS_BIND | MS_REC, NULL);
	int fd;

	if (r < 0)
		return r;
	fd = open_directory(path, O_PATH);
	if (fd < 0)
		return fd;
	if (stat(".", &below) < 0 || fstat(fd, &above) < 0)
		return closing(fd, -errno);
	return below.st_dev == above.st_dev && below.st_ino == above.st_ino ? fd : closing(fd, -EXDEV);
}

static int attach_here(int tree)
{
	return kernel_move_mount(tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH);
}

static int clone_root(const char *path)
{
	int tree = kernel_open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int r;

	if (lacks(tree))
		return bind_root(path);
	if (tree < 0)
		return tree;
	r = attach_here(tree);
	if (r == 0)
		return tree;
	close(tree);
	return lacks(r) ? bind_root(path) : r;
}

static int take_slot(struct init *init, uint32_t slot)
{
	int tree = slot_fd(init, slot);
	int r;

	if (tree < 0)
		return -EBADF;
	r = attach_here(tree);
	if (r < 0)
		return r;
	r = fcntl(tree, F_DUPFD_CLOEXEC, 3);
	if (r < 0)
		return -errno;
	slot_close(init, slot);
	return r;
}

static void set_root(struct init *init, int root)
{
	if (init->root >= 0)
		close(init->root);
	init->root = root;
}

int op_mount_root(struct init *init, const struct op_mount_root *op)
{
	int r = op->private ? make_parent_private(init) : 0;

	if (r < 0)
		return r;
	r = op->slot == NO_SLOT ? clone_root(plan_str(&init->plan, op->path)) : take_slot(init, op->slot);
	if (r < 0)
		return r;
	set_root(init, r);
	return 0;
}

int root_covered(struct init *init, const char *path, int mount)
{
	int root;

	if (path[strspn(path, "/")] != '\0')
		return 0;
	root = fcntl(mount, F_DUPFD_CLOEXEC, 3);
	if (root < 0)
		return -errno;
	set_root(init, root);
	return 0;
}

static int open_root(struct init *init, const char *path)
{
	int fd = open_directory(path, O_PATH);

	if (fd < 0)
		return fd;
	set_root(init, fd);
	return 0;
}

int op_root_here(struct init *init, const struct op_root_here *op)
{
	(void)op;
	return open_root(init, ".");
}

int op_use_root(struct init *init, const struct op_use_root *op)
{
	(void)op;
	return open_root(init, "/");
}

/* Where the runtime was started in a chroot, its root is not the namespace's: pivoting there would leave the whole host
 * below the container's root, for whoever climbs out of it with CAP_SYS_CHROOT or joins the mount namespace, as `exec`
 * does. Joining our own namespace once more moves us to its root. Kernels before 5.8 take no pidfd: as runc, then. */
static int leave_chroot(void)
{
	int self = kernel_pidfd_open(getpid());
	int r;

	if (self < 0)
		return lacks(self) ? 0 : self;
	r = setns(self, CLONE_NEWNS) < 0 ? -errno : 0;
	return closing(self, lacks(r) || r == -EINVAL ? 0 : r);
}

/* pivot_root(".", ".") puts the old root on top of the new one, where it needs no directory (pivot_root(2), NOTES).
 * It is made a slave first, so that taking it off is no news for its peers. */
int op_pivot_root(struct init *init, const struct op_pivot_root *op)
{
	int r = leave_chroot();
	int old = r < 0 ? r : open_directory("/", O_PATH);

	(void)op;
	if (old < 0)
		return old;
	r = fchdir(init->root) < 0 ? -errno : kernel_pivot_root(".", ".");
	if (r == 0 && fchdir(old) < 0)
		r = -errno;
	if (r == 0)
		r = kernel_mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL);
	if (r == 0)
		r = kernel_umount2(".", MNT_DETACH);
	if (r == 0 && chdir("/") < 0)
		r = -errno;
	return closing(old, r);
}

static int change_root(int root)
{
	if (fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

/* "\040" and its like in /proc/PID/mountinfo are characters. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* The mount point of a line of mountinfo if it is a whole procfs or sysfs outside of the new root, else NULL.
 * "ID parent device root mountpoint options ... - type source options" */
static char *whole_kernel_fs(char *line, const char *new_root)
{
	char *field[5], *type = strstr(line, " - "), *rest = line;
	size_t length = strlen(new_root);

	if (!type || (strncmp(type, " - proc ", 8) != 0 && strncmp(type, " - sysfs ", 9) != 0))
		return NULL;
	for (size_t i = 0; i < 5; i++) {
		field[i] = strsep(&rest, " ");
		if (!rest)
			return NULL;
	}
	unescape(field[4]);
	if (strcmp(field[3], "/") != 0)
		return NULL;
	if (strncmp(field[4], new_root, length) == 0 && (field[4][length] == '/' || field[4][length] == '\0'))
		return NULL;
	return field[4];
}

static int read_mountinfo(char **ret_text)
{
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	size_t size = 0, room = 0;
	char *text = NULL;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n > 0) {
		if (room - size < 4096) {
			char *larger = realloc(text, room += 65536);

			if (!larger) {
				free(text);
				return closing(fd, -ENOMEM);
			}
			text = larger;
		}
		n = read(fd, text + size, room - size - 1);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		int r = -errno;

		free(text);
		return closing(fd, r);
	}
	text[size] = '\0';
	*ret_text = text;
	return closing(fd, 0);
}

static int hide_kernel_fs(const char *mountpoint)
{
	int r = kernel_mount(NULL, mountpoint, NULL, MS_SLAVE | MS_REC, NULL);

	/* Below one that has been taken off already. */
	if (r == -ENOENT || r == -EINVAL || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	r = kernel_umount2(mountpoint, MNT_DETACH);
	/* A mount that came with the user namespace is locked. */
	if (r == -EINVAL || r == -EPERM)
		r = kernel_mount("tmpfs", mountpoint, "tmpfs", 0, NULL);
	return r;
}

/* The kernel lets a container mount a new procfs or sysfs when a whole one is anywhere in its mount namespace
 * ("mount_too_revealing"), and chroot(2) leaves the host's there, behind the masks of the container's own. */
static int hide_host_kernel_fs(const char *new_root)
{
	char *text = NULL, *rest, *line;
	int r = read_mountinfo(&text);

	if (r < 0)
		return r;
	rest = text;
	while (r == 0 && (line = strsep(&rest, "\n")) != NULL) {
		const char *mountpoint = whole_kernel_fs(line, new_root);

		if (mountpoint)
			r = hide_kernel_fs(mountpoint);
	}
	free(text);
	return r;
}

int op_move_root(struct init *init, const struct op_move_root *op)
{
	char path[PATH_MAX];
	int r;

	(void)op;
	if (fchdir(init->root) < 0 || !getcwd(path, sizeof(path)))
		return -errno;
	r = hide_host_kernel_fs(path);
	if (r == 0)
		r = kernel_mount(".", "/", NULL, MS_MOVE, NULL);
	return r < 0 ? r : change_root(init->root);
}

int op_chroot(struct init *init, const struct op_chroot *op)
{
	(void)op;
	return change_root(init->root);
}

int op_root_propagation(struct init *init, const struct op_root_propagation *op)
{
	(void)init;
	return kernel_mount(NULL, "/", NULL, op->flags, NULL);
}

int op_root_readonly(struct init *init, const struct op_root_readonly *op)
{
	(void)op;
	return set_attributes(init, init->root, false, MOUNT_ATTR_RDONLY, 0);
}
