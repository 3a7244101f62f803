/* Mounts by descriptor: open_tree(2), move_mount(2) and mount_setattr(2), or mount(2) where they are missing. */
#ifndef OCIRUN_ATTACH_H
#define OCIRUN_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "init.h"

/* MS_* of mount(2): as attributes of a mount (MOUNT_ATTR_*), and as the flag of a superblock that fsconfig(2) takes
 * (NULL: none). "ro" is both. */
struct mount_flag {
	unsigned long flag;
	uint32_t attribute;
	const char *option;
};
extern const struct mount_flag MOUNT_FLAGS[];
extern const size_t MOUNT_FLAGS_COUNT;

uint32_t attributes_of(unsigned long flags);
unsigned long flags_of(uint32_t attributes);

/* The attributes of the mount that a descriptor is on (read-only also where the file system is). 0 or -errno. */
int present_attributes(int mount, uint32_t *ret_attributes);

/* Bind what an O_PATH descriptor holds at a target given by another one: attributes (MOUNT_ATTR_*) are set before
 * anybody can see the mount. Without open_tree(2), `again` names the target for a second look at the new mount,
 * below init->root. 0 or -errno. */
struct bind {
	int source, target;
	const char *again;
	bool recursive;
	uint32_t attr_set, attr_clear; /* of the top mount */
	uint32_t rec_set, rec_clear;   /* of all, after that */
	uint32_t propagation;          /* MS_*, 0: as the source's */
};
int bind_mount(struct init *init, const struct bind *bind);

/* Attach a tree of our own with the attributes of `bind` (its source does not count), which it has before anybody can
 * see it where mount_setattr(2) is there; mount(2) changes attached mounts only. */
int attach_bind(struct init *init, int tree, const struct bind *bind);

/* Attach a tree that is attached nowhere yet, over what the target descriptor holds. 0 or -errno. */
int attach(int tree, int target);

/* Take off again what is attached, by a descriptor of its root, a directory. 0 or -errno. */
int detach(int mount);

/* Is mount_setattr(2) there (Linux 5.12) and open_tree(2) (5.2), with nothing that filters them? */
bool has_mount_setattr(void);
bool has_detached_trees(void);

/* Set and clear MOUNT_ATTR_* of the mount whose root the descriptor is. 0 or -errno. */
int set_attributes(struct init *init, int mount, bool recursive, uint32_t set, uint32_t clear);

/* Change the propagation (MS_*) of an attached mount. MS_REC: and of all below. Several types apply one after the
 * other, as in "slave,shared": a slave that has peers of its own. 0 or -errno. */
int set_propagation(int mount, uint32_t flags);

/* Close a descriptor and return the result. */
int closing(int fd, int result);

#endif
