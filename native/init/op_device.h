/* Device nodes of the container, known by what they are and not by their names. */
#ifndef OCIRUN_OP_DEVICE_H
#define OCIRUN_OP_DEVICE_H

#include "init.h"

/* The container's /dev/null, opened with these flags (O_PATH does). -ELOOP where it is a symlink, -ENODEV where it
 * is no character device 1:3: the image put something else there, and whatever is bound from it or written to it
 * would reach that (CVE-2025-31133, CVE-2026-88265). */
int open_null_device(struct init *init, int flags);

/* The name of the device in the directory that make_node puts into its slot. */
#define STORED_NODE "node"

#endif
