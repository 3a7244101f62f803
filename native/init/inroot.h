/* Paths of the container, whose root file system is hostile: resolved once, below init->root, into a descriptor. */
#ifndef OCIRUN_INROOT_H
#define OCIRUN_INROOT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "init.h"

#define INROOT_NO_SYMLINKS 1u /* a symlink anywhere in the path: ELOOP */
#define INROOT_NO_FOLLOW 2u   /* a symlink as the last component: ELOOP */

/* The same for TARGET_* of a plan. */
static inline unsigned inroot_flags(uint32_t target_flags)
{
	return (target_flags & TARGET_ORDINARY ? INROOT_NO_SYMLINKS : 0) |
	       (target_flags & TARGET_NO_FOLLOW ? INROOT_NO_FOLLOW : 0);
}

/* An O_PATH descriptor of what is at a path of the container, on its topmost mount; or -errno. Symlinks (absolute
 * ones too) and ".." stay inside the root; magic links of procfs are not followed. */
int inroot_open(const struct init *init, const char *path, unsigned flags);

/* The same after making it where it is missing: directories of the way there with 0755, the last one with `mode`.
 * A dangling symlink is completed inside the root, as runc does for images whose /etc/resolv.conf is one.
 * ENOTDIR where something of the wrong kind is there. *ret_made (unless NULL) tells whether it was missing. */
int inroot_directory(const struct init *init, const char *path, mode_t mode, unsigned flags, bool *ret_made);
int inroot_file(const struct init *init, const char *path, mode_t mode, unsigned flags);

/* The directory that holds the last component of the path, made like inroot_directory; the component itself in
 * name. EINVAL where there is none ("/", "a/.."). What name is must be looked at with O_NOFOLLOW. */
int inroot_parent(const struct init *init, const char *path, char name[NAME_MAX + 1]);

#endif
