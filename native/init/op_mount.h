/* Mounts by descriptor: open_tree(2), move_mount(2) and mount_setattr(2), or mount(2) where they are missing. */
#ifndef OCIRUN_OP_MOUNT_H
#define OCIRUN_OP_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "init.h"

/* Bind what an O_PATH descriptor holds at a target given by another one: attributes (MOUNT_ATTR_*) are set before
 * anybody can see the mount. Without open_tree(2), `again` names the target for a second look at the new mount,
 * below init->root. 0 or -errno. */
struct bind {
	int source, target;
	const char *again;
	bool recursive;
	uint32_t attr_set, attr_clear; /* of the top mount */
	uint32_t rec_set, rec_clear;   /* of all */
	uint32_t propagation;          /* MS_*, 0: as the source's */
};
int bind_mount(struct init *init, const struct bind *bind);

/* Attach a tree that is attached nowhere yet, over what the target descriptor holds. 0 or -errno. */
int attach(int tree, int target);

/* Set and clear MOUNT_ATTR_* of the mount whose root the descriptor is. 0 or -errno. */
int set_attributes(struct init *init, int mount, bool recursive, uint32_t set, uint32_t clear);

/* Close a descriptor and return the result. */
int closing(int fd, int result);

#endif
