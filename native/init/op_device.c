#define _GNU_SOURCE
#include "op_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

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

/* What mknod and bind_device ask for. */
struct node {
	const char *path;
	mode_t mode;
	dev_t number;
};

static bool is_device(mode_t mode)
{
	return S_ISCHR(mode) || S_ISBLK(mode);
}

static bool is_node(const struct stat *st, const struct node *node)
{
	return (st->st_mode & S_IFMT) == (node->mode & S_IFMT) && (!is_device(st->st_mode) || st->st_rdev == node->number);
}

static int make_node(int parent, const char *name, const struct node *node)
{
	mode_t old = umask(0);
	int r = mknodat(parent, name, node->mode, node->number) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* config-linux.md, "Devices": "If a file already exists at path that does not match the requested device, the runtime
 * MUST generate an error." */
static int occupied(struct init *init)
{
	say(init, "something else than this device is already there");
	return IN_WORDS;
}

/* The mode and the owner that were asked for, whatever the directory's set-group-ID bit and default ACL have made of
 * them. chown(2) clears set-ID bits. */
static int set_owner(int fd, struct stat *st, const struct node *node, uid_t uid, gid_t gid)
{
	if ((st->st_uid != uid || st->st_gid != gid) &&
	    (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 || fstat(fd, st) < 0))
		return -errno;
	return st->st_mode == node->mode ? 0 : procfs_chmod(fd, node->mode & 07777);
}

static int check_node(struct init *init, const struct node *node, int parent, const struct op_mknod *op, const char *name,
		      bool made)
{
	int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!is_node(&st, node))
		r = occupied(init);
	else if (made)
		r = set_owner(fd, &st, node, op->uid, op->gid);
	return closing(fd, r);
}

/* The host's node of that path; else the one that udev links by its number. What has the path but is another device is
 * not what was asked for. */
static int open_host_node(struct init *init, const struct node *node)
{
	char by_number[48];
	struct stat st;
	int fd;

	snprintf(by_number, sizeof(by_number), "/dev/%s/%u:%u", S_ISBLK(node->mode) ? "block" : "char",
		 major(node->number), minor(node->number));
	for (int i = 0; i < 2; i++) {
		fd = open(i == 0 ? node->path : by_number, O_PATH | O_CLOEXEC);
		if (fd >= 0 && fstat(fd, &st) == 0 && is_node(&st, node))
			return fd;
		closing(fd, 0);
	}
	say(init, "mknod(2) is not allowed here, and the host has no such device at this path or in /dev/%s",
	    S_ISBLK(node->mode) ? "block" : "char");
	return IN_WORDS;
}

/* Where a device is to be bound: a file made for that, or left from the last time, or such a device. */
static int open_target(struct init *init, const struct node *node)
{
	int fd = inroot_file(init, node->path, 0666, INROOT_NO_FOLLOW);
	struct stat st;

	if (fd == -ELOOP || fd == -ENOTDIR)
		return occupied(init);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return closing(fd, -errno);
	if ((S_ISREG(st.st_mode) && st.st_size == 0) || is_node(&st, node))
		return fd;
	return closing(fd, occupied(init));
}

static int bind_host_node(struct init *init, const struct node *node)
{
	struct bind bind = {.again = node->path};
	int r;

	bind.source = open_host_node(init, node);
	if (bind.source < 0)
		return bind.source;
	bind.target = open_target(init, node);
	r = bind.target < 0 ? bind.target : closing(bind.target, bind_mount(init, &bind));
	return closing(bind.source, r);
}

int op_mknod(struct init *init, const struct op_mknod *op)
{
	const struct node node = {plan_str(&init->plan, op->target), op->mode, makedev(op->major, op->minor)};
	char name[NAME_MAX + 1];
	int parent = inroot_parent(init, node.path, name);
	int r;

	if (parent < 0)
		return parent;
	r = make_node(parent, name, &node);
	if (r == -EPERM && is_device(node.mode))
		r = bind_host_node(init, &node);
	else if (r == 0 || r == -EEXIST)
		r = check_node(init, &node, parent, op, name, r == 0);
	return closing(parent, r);
}

/* A mount of the node alone, attached nowhere. Before Linux 6.15 only what is attached can be cloned: over "/" for that
 * moment, where nobody looks, since nobody else is in the new mount namespace. */
static int clone_stored(int store)
{
	int tree = kernel_clone_detached(store, STORED_NODE);
	int top, r;

	if (tree != -EINVAL)
		return tree;
	top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return -errno;
	r = closing(top, attach(store, top));
	if (r < 0)
		return r;
	tree = kernel_open_tree(store, STORED_NODE, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	r = detach(store);
	return r < 0 ? closing(tree, r) : tree;
}

static int bind_stored_node(struct init *init, const struct node *node, int store)
{
	int tree = clone_stored(store);
	int target, r;

	if (tree < 0)
		return tree;
	target = open_target(init, node);
	r = target < 0 ? target : closing(target, attach(tree, target));
	return closing(tree, r);
}

int op_bind_device(struct init *init, const struct op_bind_device *op)
{
	const struct node node = {plan_str(&init->plan, op->target), op->mode, makedev(op->major, op->minor)};
	const int store = op->slot < init->plan.header->slot_count ? init->slots[op->slot] : -1;
	int r;

	if (store < 0) /* NO_SLOT, or make_node was not allowed to */
		return bind_host_node(init, &node);
	r = bind_stored_node(init, &node, store);
	slot_close(init, op->slot);
	return r;
}
