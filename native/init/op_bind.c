#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

int op_open_tree(struct init *init, const struct op_open_tree *op)
{
	const char *path = plan_str(&init->plan, op->path);
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (op->recursive ? AT_RECURSIVE : 0);
	int from = AT_FDCWD;
	int tree, r;

	if (op->from_slot != NO_SLOT) {
		from = slot_fd(init, op->from_slot);
		if (from < 0)
			return -EBADF;
		path = "";
		flags |= AT_EMPTY_PATH;
	}
	tree = kernel_open_tree(from, path, flags);
	if (lacks(tree) && op->from_slot == NO_SLOT) {
		/* `bind` finds a descriptor that is no detached tree, and goes by the path again. */
		tree = open(path, O_PATH | O_CLOEXEC);
		return tree < 0 ? -errno : slot_fill(init, op->slot, tree);
	}
	if (tree < 0)
		return tree;
	/* On a tree that is attached nowhere; mount(2) may not touch those (EINVAL), `bind` does it then. */
	r = set_propagation(tree, MS_SLAVE | MS_REC);
	if (r < 0 && r != -EINVAL)
		return closing(tree, r);
	return slot_fill(init, op->slot, tree);
}

int op_open_inside(struct init *init, const struct op_open_inside *op)
{
	const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (op->recursive ? AT_RECURSIVE : 0);
	const int source = inroot_open(init, plan_str(&init->plan, op->target), 0);
	int tree;

	if (source < 0)
		return source;
	tree = kernel_open_tree(source, "", flags);
	if (lacks(tree)) /* as in op_open_tree */
		return slot_fill(init, op->slot, source);
	close(source);
	return tree < 0 ? tree : slot_fill(init, op->slot, tree);
}

static int bind_target(struct init *init, const char *path, int source, uint32_t target_flags)
{
	unsigned lookup = inroot_flags(target_flags);
	struct stat st;

	if (fstat(source, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? inroot_directory(init, path, 0755, lookup, NULL) : inroot_file(init, path, 0755, lookup);
}

/* Attach the tree that the slot holds. */
static int bind_detached(struct init *init, int tree, const struct bind *bind)
{
	int r = attach_bind(init, tree, bind);

	if (r == 0 && !has_mount_setattr()) /* what open_tree could not do then */
		r = set_propagation(tree, MS_SLAVE | MS_REC);
	if (r == 0)
		r = set_propagation(tree, bind->propagation);
	return r < 0 ? r : root_covered(init, bind->again, tree);
}

/* Bind from an O_PATH descriptor of the source, or from a detached tree. */
static int bind_from(struct init *init, const struct op_bind *op, int source, bool detached)
{
	struct bind bind = {
		.source = source,
		.again = plan_str(&init->plan, op->target),
		.recursive = op->recursive,
		.attr_set = op->attr_set,
		.attr_clear = op->attr_clear,
		.rec_set = op->rec_set,
		.rec_clear = op->rec_clear,
		.propagation = op->propagation,
	};
	int r;

	bind.target = bind_target(init, bind.again, source, op->target_flags);
	if (bind.target < 0)
		return bind.target;
	r = procfs_check_target(init, bind.target, bind.again, "", source);
	if (r == 0)
		r = detached ? bind_detached(init, source, &bind) : bind_mount(init, &bind);
	return closing(bind.target, r);
}

static int bind_path(struct init *init, const struct op_bind *op)
{
	int source = open(plan_str(&init->plan, op->source), O_PATH | O_CLOEXEC);

	return source < 0 ? -errno : closing(source, bind_from(init, op, source, false));
}

int op_bind(struct init *init, const struct op_bind *op)
{
	int tree, r = -ENOSYS;

	if (op->slot == NO_SLOT)
		return bind_path(init, op);
	tree = slot_fd(init, op->slot);
	if (tree < 0)
		return -EBADF;
	if (has_detached_trees())
		r = bind_from(init, op, tree, true);
	slot_close(init, op->slot);
	return lacks(r) && !(op->target_flags & TARGET_AS_TAKEN) ? bind_path(init, op) : r;
}

int op_setattr(struct init *init, const struct op_setattr *op)
{
	int mount = inroot_open(init, plan_str(&init->plan, op->target), 0);
	int r;

	if (mount < 0)
		return mount;
	r = set_attributes(init, mount, op->recursive, op->attr_set, op->attr_clear);
	if (r == 0)
		r = set_propagation(mount, op->propagation);
	return closing(mount, r);
}

int op_propagation(struct init *init, const struct op_propagation *op)
{
	const int r = kernel_mount(NULL, "/", NULL, op->flags, NULL);

	if (r == -EINVAL)
		say(init, "/ is no mount point, as in a chroot");
	return r;
}
