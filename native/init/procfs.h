/* /proc without trust in what the mount table says /proc is (CVE-2019-16884, CVE-2025-52881). */
#ifndef OCIRUN_PROCFS_H
#define OCIRUN_PROCFS_H

#include "init.h"

/* mount(2) between descriptors: target, and source_fd unless it is -1 and `source` counts, by their magic links in
 * /proc/self/fd (a directory alone as the working directory, which needs no /proc). `source` may not be a relative
 * path. For kernels and seccomp filters without the newer calls. */
int procfs_mount(int source_fd, const char *source, int target, const char *fstype, unsigned long flags, const char *data);

/* Nothing but a procfs may hide a procfs, whatever symlink the target went through (CVE-2019-16884): what writes to
 * /proc/self/attr later would write to a file of the image. `source`: what is mounted, -1 for a new file system. */
int procfs_check_target(struct init *init, int target, const char *path, const char *fstype, int source);

/* inroot_open() of what shall be hidden or protected. Below the proc that the plan has mounted on /proc it is looked
 * for in that and nowhere else: whoever shares the rootfs may exchange the directory /proc for another or a symlink
 * meanwhile, so that something else is hidden instead (CVE-2019-19921). */
int procfs_protected(struct init *init, const char *path);

/* The directory /proc/PID of a process of our pid namespace (O_PATH), or -errno. */
int procfs_process(pid_t pid);

/* A file below our own directory in such a procfs, or -errno. */
int procfs_self(const char *path, int flags);

/* What is at a path below a directory of such a procfs, and neither a symlink nor mounted over it. */
int procfs_beneath(int directory, const char *path, int flags);

/* chmod(2) of what an O_PATH descriptor holds. */
int procfs_chmod(int fd, mode_t mode);

#endif
