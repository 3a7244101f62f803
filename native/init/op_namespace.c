/* Namespaces, the cgroup, and the step from the outer stage to PID 1. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <linux/nsfs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

int op_open(struct init *init, const struct op_open *op)
{
	int fd = open(plan_str(&init->plan, op->path), (int)op->flags | O_CLOEXEC);

	return fd < 0 ? -errno : slot_fill(init, op->slot, fd);
}

int op_open_cgroup(struct init *init, const struct op_open_cgroup *op)
{
	const char *path = plan_str(&init->plan, op->path);
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	int fd = kernel_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int r;

	/* An ordinary user's runtime may not clone mounts; to its container the directory belongs anyway. */
	if (lacks(fd)) {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return fd < 0 ? -errno : slot_fill(init, op->slot, fd);
	}
	if (fd < 0)
		return fd;
	r = kernel_mount_setattr(fd, "", AT_EMPTY_PATH, &readonly);
	if (r < 0 && !lacks(r)) { /* before Linux 5.12 it is as the host's mount */
		close(fd);
		return r;
	}
	return slot_fill(init, op->slot, fd);
}

/* Where the runtime may not have a pidfd, /proc/PID stands in for one. */
static int join_one_by_one(int process, uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} KINDS[] = {
		{CLONE_NEWUSER, "ns/user"}, {CLONE_NEWCGROUP, "ns/cgroup"}, {CLONE_NEWIPC, "ns/ipc"}, {CLONE_NEWUTS, "ns/uts"},
		{CLONE_NEWNET, "ns/net"}, {CLONE_NEWPID, "ns/pid"}, {CLONE_NEWTIME, "ns/time"}, {CLONE_NEWNS, "ns/mnt"},
	};
	int fds[sizeof(KINDS) / sizeof(*KINDS)];
	const size_t count = sizeof(KINDS) / sizeof(*KINDS);
	int r = 0;

	/* All opened first: what a joined user namespace forbids to open is open then. */
	for (size_t i = 0; i < count; i++) {
		fds[i] = flags & KINDS[i].flag && r == 0 ? openat(process, KINDS[i].name, O_RDONLY | O_CLOEXEC) : -1;
		if (flags & KINDS[i].flag && r == 0 && fds[i] < 0)
			r = -errno;
	}
	for (size_t i = 0; i < count; i++) {
		if (fds[i] < 0)
			continue;
		if (r == 0 && setns(fds[i], (int)KINDS[i].flag) < 0)
			r = -errno;
		close(fds[i]);
	}
	return r == -EACCES ? -EPERM : r;
}

static int join_namespaces(int fd, uint32_t flags)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return join_one_by_one(fd, flags);
	return setns(fd, (int)flags) < 0 ? -errno : 0;
}

/* Words for an EINVAL of setns(2): what the descriptor is of, if not of such a namespace. Pidfds answer ENOTTY too,
 * but take every flag that the kernel knows. */
static void say_what_it_is(struct init *init, int fd, uint32_t wanted)
{
	static const struct {
		int flag;
		const char *name;
	} kinds[] = {
		{ CLONE_NEWNS, "a mount" },    { CLONE_NEWUTS, "a uts" },    { CLONE_NEWIPC, "an ipc" },
		{ CLONE_NEWUSER, "a user" },   { CLONE_NEWPID, "a pid" },    { CLONE_NEWNET, "a network" },
		{ CLONE_NEWCGROUP, "a cgroup" }, { CLONE_NEWTIME, "a time" },
	};
	const int kind = ioctl(fd, NS_GET_NSTYPE);

	if (kind < 0) {
		say(init, "this is no namespace");
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (kinds[i].flag == kind && kinds[i].flag != (int)wanted)
			say(init, "this is %s namespace", kinds[i].name);
	if (kind == CLONE_NEWUSER && wanted == CLONE_NEWUSER)
		say(init, "this is the user namespace of the caller");
}

int op_setns(struct init *init, const struct op_setns *op)
{
	int fd, r;

	if (op->attempt == 2 && (op->slot >= init->plan.header->slot_count || !init->put_off[op->slot]))
		return 0;
	fd = slot_fd(init, op->slot);
	if (fd < 0)
		return fd;
	if (op->attempt == 2) /* not by a record between the two: a pidfd is the slot of several */
		init->put_off[op->slot] = false;
	r = join_namespaces(fd, op->flags);
	if (r < 0) {
		if (r == -EINVAL)
			say_what_it_is(init, fd, op->flags);
		if (r != -EPERM || op->attempt != 1)
			return r;
		init->put_off[op->slot] = true;
		return 0;
	}
	if (op->flags & CLONE_NEWUSER)
		init->user_namespace = true;
	if (!slot_needed(init, op->slot))
		slot_close(init, op->slot);
	return 0;
}

int op_unshare(struct init *init, const struct op_unshare *op)
{
	if (unshare((int)op->flags) < 0)
		return -errno;
	if (op->flags & CLONE_NEWUSER) {
		init->user_namespace = true;
		init->alone = init->unprivileged;
	}
	return 0;
}

void show(struct init *init, bool on)
{
	if (init->alone)
		(void)prctl(PR_SET_DUMPABLE, on ? 1L : 0L, 0L, 0L, 0L);
}

/* The maps in /proc/PID belong to the process's owner only while it is dumpable. Nobody else is in the namespace
 * that it has just made, so nobody has CAP_SYS_PTRACE over it there. */
int op_map_ids(struct init *init, const struct op_map_ids *op)
{
	int r;

	(void)op;
	(void)prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
	r = tell_and_wait(init, MESSAGE_MAPS, 0);
	(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
	return r < 0 ? r : 0;
}

int op_become_root(struct init *init, const struct op_become_root *op)
{
	(void)op;
	/* Where setgroups is denied (user_namespaces(7)) the caller's groups stay, as they must. */
	if (setgroups(0, NULL) < 0 && errno != EPERM) {
		say(init, "setgroups");
		return -errno;
	}
	if (setresgid(0, 0, 0) < 0) {
		say(init, "setresgid");
		return -errno;
	}
	if (setresuid(0, 0, 0) < 0) {
		say(init, "setresuid");
		return -errno;
	}
	return 0;
}

/* Write to a file of our own in /proc, which belongs to the global root as long as we are not dumpable, and so is
 * closed to an unprivileged runtime and in a user namespace. Dumpable only for the moment of the open. */
static int write_own(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int error;

	if (fd < 0 && errno == EACCES) {
		(void)prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		error = errno;
		(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
		errno = error;
	}
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	return n < 0 ? -error : 0;
}

int op_oom_score_adj(struct init *init, const struct op_oom_score_adj *op)
{
	char text[16];

	(void)init;
	snprintf(text, sizeof(text), "%d", op->value);
	return write_own("/proc/self/oom_score_adj", text);
}

int op_time_offset(struct init *init, const struct op_time_offset *op)
{
	char text[64];

	(void)init;
	snprintf(text, sizeof(text), "%u %lld %u", op->clock, (long long)op->secs, op->nanosecs);
	return write_own("/proc/self/timens_offsets", text);
}

/* "0" is the writing process itself, whatever its number is in the reader's pid namespace. */
static int join(int fd)
{
	return write(fd, "0", 1) < 0 ? -errno : 0;
}

int op_join_cgroup(struct init *init, const struct op_join_cgroup *op)
{
	const int fd = slot_fd(init, op->slot);
	int r;

	if (fd < 0)
		return fd;
	r = join(fd);
	slot_close(init, op->slot);
	return r;
}

int op_reset_affinity(struct init *init, const struct op_reset_affinity *op)
{
	/* The kernel cuts the mask to the CPUs that there are and that the cpuset allows. */
	unsigned char all[1024];

	(void)init;
	(void)op;
	memset(all, 0xff, sizeof(all));
	/* runc goes on too where this is refused: the affinity is no promise of the spec. */
	(void)syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	return 0;
}

/* fork into the runtime's children. 0 in the child; -errno. */
static int clone_sibling(int cgroup)
{
	struct clone_args args = { .flags = CLONE_PARENT };
	int pid;

	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (__u64)cgroup;
	}
	pid = kernel_clone3(&args);
	if (pid >= 0 || cgroup >= 0 || !lacks(pid))
		return pid;
	/* Without a stack of its own, the order of clone(2)'s other arguments does not matter. */
	return kernel_result(syscall(SYS_clone, (unsigned long)CLONE_PARENT | SIGCHLD, 0UL, 0UL, 0UL, 0UL));
}

static void end_by(int signal)
{
	_exit(128 + signal);
}

/* The kernel keeps every signal from a namespace's PID 1 that this has no handler for: who stops a container before its
 * program runs would wait for nothing. runc's Go ends by the same ones. */
static void hear_signals(void)
{
	static const int SIGNALS[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	const struct sigaction action = { .sa_handler = end_by };

	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(*SIGNALS); i++)
		(void)sigaction(SIGNALS[i], &action, NULL);
}

/* The first words of PID 1. What it could be looked at for meanwhile is closed before it waits. */
static int begin(struct init *init, const struct op_clone *op, int procs)
{
	int r;

	slot_close(init, op->cgroup_slot);
	if (procs < 0)
		slot_close(init, op->procs_slot);
	(void)prctl(PR_SET_NAME, "ocirun:[INIT]", 0L, 0L, 0L);
	if (getpid() == 1)
		hear_signals();
	r = wait_for_ack(init);
	if (r < 0)
		return r;
	show(init, false);
	if (procs < 0)
		return 0;
	r = join(procs);
	slot_close(init, op->procs_slot);
	return r;
}

int op_clone(struct init *init, const struct op_clone *op)
{
	int cgroup = -1, procs = -1, pid = -1, first, r = 0;

	if (op->cgroup_slot != NO_SLOT && (cgroup = slot_fd(init, op->cgroup_slot)) < 0)
		return cgroup;
	if (op->procs_slot != NO_SLOT && (procs = slot_fd(init, op->procs_slot)) < 0)
		return procs;
	show(init, true);
	if (cgroup >= 0)
		pid = clone_sibling(cgroup);
	/* Kernels before 5.7 and filters do not know CLONE_INTO_CGROUP; and where pids.max leaves no room for a fork,
	 * moving is still allowed. */
	first = pid;
	if (pid < 0 && (cgroup < 0 || procs >= 0)) {
		pid = clone_sibling(-1);
		/* A pid namespace whose first process could not be forked has no second try. */
		if (pid == -ENOMEM && first == -EAGAIN)
			pid = first;
		if (pid == 0)
			r = begin(init, op, procs);
	} else if (pid == 0) {
		r = begin(init, op, -1);
	}
	if (pid < 0)
		return pid;
	if (pid > 0)
		_exit(tell(init, MESSAGE_PID, pid) < 0 ? 1 : 0);
	return r;
}
