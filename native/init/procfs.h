/* /proc without trust in what the mount table says /proc is (CVE-2019-16884, CVE-2025-52881). */
#ifndef OCIRUN_PROCFS_H
#define OCIRUN_PROCFS_H

#include "init.h"

/* mount(2) between descriptors: target, and source_fd unless it is -1 and `source` counts, by their magic links in
 * /proc/self/fd (a directory alone as the working directory, which needs no /proc). `source` may not be a relative
 * path. For kernels and seccomp filters without the newer calls. */
int procfs_mount(int source_fd, const char *source, int target, const char *fstype, unsigned long flags, const char *data);

#endif
