/* Idmapped mounts (mount_setattr(2)): a user namespace that says how owners are mapped, and the mounts themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach.h"
#include "kernel.h"
#include "procfs.h"

/* The only inhabitant of a new user namespace: it ends with the other end of the pipe, however that is closed. Like us
 * it is not dumpable, so that nobody can trace it who could not trace us; and it keeps nothing of ours open. */
static void __attribute__((noreturn)) inhabit(int end)
{
	char byte;

	(void)prctl(PR_SET_NAME, "ocirun:[IDMAP]", 0L, 0L, 0L);
	if (end > 0)
		(void)kernel_close_range(0, (unsigned)end - 1, 0);
	(void)kernel_close_range((unsigned)end + 1, ~0U, 0);
	while (read(end, &byte, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* One write(2): the kernel takes a map whole or not at all. */
static int write_map(int process, const char *name, const char *text)
{
	int fd = procfs_beneath(process, name, O_WRONLY);

	if (fd < 0)
		return fd;
	return closing(fd, write(fd, text, strlen(text)) < 0 ? -errno : 0);
}

/* The last component is a magic link, which no verified lookup follows; what it leads to is looked at instead. */
static int open_namespace(int process)
{
	int links = procfs_beneath(process, "ns", O_PATH | O_DIRECTORY);
	int fd;

	if (links < 0)
		return links;
	fd = openat(links, "user", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return closing(links, -errno);
	close(links);
	return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWUSER ? fd : closing(fd, -EXDEV);
}

static int map_namespace(struct init *init, const struct op_user_namespace *op, pid_t inhabitant)
{
	int process = procfs_process(inhabitant);
	const char *what = "uid_map";
	int r;

	if (process < 0)
		return process;
	r = write_map(process, what, plan_str(&init->plan, op->uid_map));
	if (r == 0)
		r = write_map(process, what = "gid_map", plan_str(&init->plan, op->gid_map));
	if (r < 0) {
		say(init, "write %s", what);
	} else {
		r = open_namespace(process);
		if (r == -EACCES)
			say(init, "to open it takes CAP_SYS_PTRACE");
	}
	return closing(process, r);
}

int op_user_namespace(struct init *init, const struct op_user_namespace *op)
{
	int ends[2], status, pid, r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = kernel_result(syscall(SYS_clone, (unsigned long)CLONE_NEWUSER | SIGCHLD, 0UL, 0UL, 0UL, 0UL));
	if (pid == 0) {
		close(ends[1]);
		inhabit(ends[0]);
	}
	close(ends[0]);
	r = pid < 0 ? pid : map_namespace(init, op, pid);
	close(ends[1]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? r : slot_fill(init, op->slot, r);
}

/* What the kernel's few error numbers mean here (fs/namespace.c, can_idmap_mount and build_mount_idmapped). */
static void explain(struct init *init, int error, bool recursive)
{
	if (!has_detached_trees())
		say(init, "idmapped mounts need open_tree(2) (Linux 5.2)");
	else if (error == -ENOSYS)
		say(init, "idmapped mounts need mount_setattr(2) (Linux 5.12)");
	else if (error == -EPERM && !has_mount_setattr())
		say(init, "mount_setattr(2) takes CAP_SYS_ADMIN, or a seccomp filter forbids it");
	else if (error == -EINVAL)
		say(init, "%sdoes not support idmapped mounts with this kernel",
		    recursive ? "the file system, or one mounted below, " : "the file system ");
	else if (error == -EPERM)
		say(init, "it is idmapped already, or its file system belongs to another user namespace than the runtime's");
}

int op_idmap(struct init *init, const struct op_idmap *op)
{
	const int tree = slot_fd(init, op->slot), space = slot_fd(init, op->namespace_slot);
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (__u64)space};
	int r;

	if (tree < 0 || space < 0)
		return -EBADF;
	r = kernel_mount_setattr(tree, "", AT_EMPTY_PATH | (op->recursive ? AT_RECURSIVE : 0), &attr);
	if (r < 0)
		explain(init, r, op->recursive);
	if (!slot_needed(init, op->namespace_slot))
		slot_close(init, op->namespace_slot);
	return r;
}
