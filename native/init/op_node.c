/* Device nodes for a user namespace, where mknod(2) is forbidden: made outside of it, on a file system that belongs to
 * the outside too. (On one that belongs to the user namespace no device could be opened.) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach.h"
#include "kernel.h"
#include "op_device.h"

static int new_store(void)
{
	int fs = kernel_fsopen("tmpfs", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return fs;
	r = kernel_fsconfig(fs, FSCONFIG_SET_STRING, "source", "devices", 0);
	if (r == 0)
		r = kernel_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (r == 0)
		r = kernel_fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	return closing(fs, r);
}

/* Nobody else can reach the store, so its one name may be used again. */
static int fill(int store, const struct op_make_node *op)
{
	if (mknodat(store, STORED_NODE, op->mode, makedev(op->major, op->minor)) < 0 ||
	    fchownat(store, STORED_NODE, op->uid, op->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(store, STORED_NODE, op->mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

int op_make_node(struct init *init, const struct op_make_node *op)
{
	int store = new_store();
	int r = store < 0 ? store : fill(store, op);

	if (r == 0)
		return slot_fill(init, op->slot, store);
	closing(store, 0);
	return lacks(r) ? 0 : r; /* bind_device looks for the host's */
}
