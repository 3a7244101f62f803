/* procfs.c without the private instance: whatever is mounted on /proc is believed to be /proc. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "inroot.h"
#include "procfs.h"

int procfs_mount(int source_fd, const char *source, int target, const char *fstype, unsigned long flags, const char *data)
{
	char from[64], to[64];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", source_fd);
	snprintf(to, sizeof(to), "/proc/self/fd/%d", target);
	return mount(source_fd < 0 ? source : from, to, fstype, flags, data) < 0 ? -errno : 0;
}

int procfs_check_target(struct init *init, int target, const char *path, const char *fstype, int source)
{
	(void)init;
	(void)target;
	(void)path;
	(void)fstype;
	(void)source;
	return 0;
}

int procfs_protected(struct init *init, const char *path)
{
	return inroot_open(init, path, 0);
}

int procfs_process(pid_t pid)
{
	(void)pid;
	return -ENOSYS;
}

int procfs_self(const char *path, int flags)
{
	char whole[PATH_MAX];
	int fd;

	snprintf(whole, sizeof(whole), "/proc/self/%s", path);
	fd = open(whole, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int procfs_beneath(int directory, const char *path, int flags)
{
	const int fd = openat(directory, path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int procfs_chmod(int fd, mode_t mode)
{
	(void)fd;
	(void)mode;
	return -ENOSYS;
}

int op_sysctl(struct init *init, const struct op_sysctl *op)
{
	const char *value = plan_str(&init->plan, op->value);
	char path[PATH_MAX];
	int fd, r;

	snprintf(path, sizeof(path), "/proc/sys/%s", plan_str(&init->plan, op->path));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return r;
}
