/* A procfs that nobody can have mounted anything over, in this order:
 *
 *   1. a new instance, attached nowhere, with only the process directories (subset=pid, Linux 5.8) where these are
 *      all that is needed. In a user namespace the kernel refuses one as long as a procfs that is visible
 *      there has something mounted over it ("mount_too_revealing"), so for a nested container there is
 *   2. /proc as it is mounted, if it is the root of a procfs; lookups in it may not enter other mounts. */
#define _GNU_SOURCE
#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "inroot.h"
#include "kernel.h"

#define PROC_ROOT_INO 1 /* the kernel's include/linux/proc_fs.h */

static int new_procfs(bool processes_only)
{
	int fs = kernel_fsopen("proc", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return fs;
	fd = processes_only ? kernel_fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid", 0) : 0;
	if (fd >= 0)
		fd = kernel_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (fd >= 0)
		fd = kernel_fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	close(fs);
	return fd;
}

static bool is_procfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static int mounted_procfs(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!is_procfs(fd) || st.st_ino != PROC_ROOT_INO)
		r = -EXDEV;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int open_procfs(bool processes_only)
{
	int fd = processes_only ? new_procfs(true) : -EINVAL;

	if (fd < 0)
		fd = new_procfs(false);
	if (fd < 0)
		fd = mounted_procfs();
	return fd;
}

/* Without openat2(2): component by component, each on the same procfs and none a symlink. A file of the same
 * procfs bound over another one would pass, which takes both a filtered openat2 and a refused private instance. */
static int walk_procfs(int proc, const char *path, int flags)
{
	char name[NAME_MAX + 1];
	struct stat root, st;
	int fd = fcntl(proc, F_DUPFD_CLOEXEC, 3);
	int next;

	if (fd < 0 || fstat(proc, &root) < 0)
		return -errno;
	while (fd >= 0 && *path) {
		size_t length = strcspn(path, "/");

		if (length == 0 || length > NAME_MAX) {
			close(fd);
			return -EINVAL;
		}
		memcpy(name, path, length);
		name[length] = '\0';
		path += length;
		if (*path == '/')
			path++;
		next = strcmp(name, "..") == 0 ? -1 : openat(fd, name, (*path ? O_PATH | O_DIRECTORY : flags) | O_NOFOLLOW | O_CLOEXEC);
		next = next < 0 ? -(strcmp(name, "..") == 0 ? EXDEV : errno) : next;
		close(fd);
		fd = next;
		if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_dev != root.st_dev)) {
			close(fd);
			fd = -EXDEV;
		}
	}
	return fd;
}

int procfs_beneath(int directory, const char *path, int flags)
{
	uint64_t how = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
	int fd = kernel_openat2(directory, path, (unsigned)(flags | O_CLOEXEC), 0, how);

	if (lacks(fd))
		fd = walk_procfs(directory, path, flags);
	return fd;
}

int procfs_self(const char *path, int flags)
{
	int proc = open_procfs(true);
	char name[16], whole[64];
	ssize_t n;
	int fd;

	if (proc < 0)
		return proc;
	/* "self" by its text, the pid in the pid namespace of that procfs: no lookup in there follows a symlink. */
	n = readlinkat(proc, "self", name, sizeof(name) - 1);
	if (n <= 0) {
		fd = n < 0 ? -errno : -ENOENT;
	} else {
		snprintf(whole, sizeof(whole), "%.*s/%s", (int)n, name, path);
		fd = procfs_beneath(proc, whole, flags);
	}
	close(proc);
	return fd;
}

static int open_fd_directory(void)
{
	return procfs_self("fd", O_PATH | O_DIRECTORY);
}

int procfs_process(pid_t pid)
{
	int proc = open_procfs(true);
	char name[16];
	int fd;

	if (proc < 0)
		return proc;
	snprintf(name, sizeof(name), "%d", pid);
	fd = procfs_beneath(proc, name, O_PATH | O_DIRECTORY);
	close(proc);
	return fd;
}

int procfs_chmod(int fd, mode_t mode)
{
	int r = kernel_fchmodat2(fd, "", mode, AT_EMPTY_PATH);
	char name[16];
	int fds;

	if (!lacks(r))
		return r;
	fds = open_fd_directory();
	if (fds < 0)
		return fds;
	snprintf(name, sizeof(name), "%d", fd);
	r = fchmodat(fds, name, mode, 0) < 0 ? -errno : 0;
	close(fds);
	return r;
}

int procfs_check_target(struct init *init, int target, const char *path, const char *fstype, int source)
{
	struct stat st;

	if (!is_procfs(target) && strcmp(path, "/proc") != 0)
		return 0;
	if (fstat(target, &st) < 0)
		return -errno;
	if (is_procfs(target) && st.st_ino != PROC_ROOT_INO) {
		if (strncmp(path, "/proc/", 6) == 0) /* the plan has only those that runc allows */
			return 0;
		say(init, "\"%s\" cannot be mounted because it is inside /proc", path);
		return IN_WORDS;
	}
	if (source >= 0 ? is_procfs(source) : strcmp(fstype, "proc") == 0)
		return 0;
	say(init, "\"%s\" cannot be mounted because it is not of type proc", path);
	return IN_WORDS;
}

static bool plan_mounts_proc(const struct init *init)
{
	for (const struct record *record = plan_next(&init->plan, NULL); record; record = plan_next(&init->plan, record)) {
		const struct op_mount *op = (const void *)(record + 1);

		if (record->kind == OP_mount && strcmp(plan_str(&init->plan, op->fstype), "proc") == 0 &&
		    strcmp(plan_str(&init->plan, op->target), "/proc") == 0)
			return true;
	}
	return false;
}

int procfs_protected(struct init *init, const char *path)
{
	struct init inside = *init;
	int fd;

	if (strncmp(path, "/proc/", 6) != 0 || !plan_mounts_proc(init))
		return inroot_open(init, path, 0);
	inside.root = inroot_open(init, "/proc", INROOT_NO_SYMLINKS);
	if (inside.root < 0 || !is_procfs(inside.root)) {
		if (inside.root >= 0)
			close(inside.root);
		say(init, "/proc is not the proc file system that was mounted there");
		return IN_WORDS;
	}
	fd = inroot_open(&inside, path + 5, 0);
	close(inside.root);
	return fd;
}

/* mount(2) on a relative path of a directory, which is the working directory meanwhile. */
static int mount_in(int directory, const char *source, const char *target, const char *fstype, unsigned long flags,
		    const char *data)
{
	int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (back < 0)
		return -errno;
	r = fchdir(directory) < 0 ? -errno : kernel_mount(source, target, fstype, flags, data);
	if (fchdir(back) < 0 && r == 0)
		r = -errno;
	close(back);
	return r;
}

int procfs_mount(int source_fd, const char *source, int target, const char *fstype, unsigned long flags, const char *data)
{
	char from[16], to[16];
	struct stat st;
	int fds, r;

	if (fstat(target, &st) < 0)
		return -errno;
	if (source_fd < 0 && S_ISDIR(st.st_mode))
		return mount_in(target, source, ".", fstype, flags, data);
	fds = open_fd_directory();
	if (fds < 0)
		return -ENOSYS; /* neither the newer calls nor a /proc to stand in for them */
	snprintf(from, sizeof(from), "%d", source_fd);
	snprintf(to, sizeof(to), "%d", target);
	r = mount_in(fds, source_fd < 0 ? source : from, to, fstype, flags, data);
	close(fds);
	return r;
}

int op_sysctl(struct init *init, const struct op_sysctl *op)
{
	const char *value = plan_str(&init->plan, op->value);
	int proc = open_procfs(false);
	int sys, fd, r;

	if (proc < 0)
		return proc;
	sys = procfs_beneath(proc, "sys", O_PATH | O_DIRECTORY);
	close(proc);
	if (sys < 0)
		return sys;
	fd = procfs_beneath(sys, plan_str(&init->plan, op->path), O_WRONLY);
	close(sys);
	if (fd < 0)
		return fd;
	r = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return r;
}
