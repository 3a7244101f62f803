/* The system calls that the runtime itself needs and Python's standard library does not have.
 * Every function returns a descriptor, a pid or 0, or -errno. Typed for Python in ocirun/host/native.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/ioprio.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys.h"

/* bpf(2) BPF_PROG_LOAD of a cgroup device program; the verifier's words go to log. */
int sys_bpf_prog_load(const void *instructions, unsigned int count, char *log, unsigned int log_size)
{
	union bpf_attr attr;
	static const char license[] = "Apache-2.0";
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)instructions;
	attr.insn_cnt = count;
	attr.license = (uint64_t)(uintptr_t)license;
	if (log_size > 0) {
		attr.log_buf = (uint64_t)(uintptr_t)log;
		attr.log_size = log_size;
		attr.log_level = 1;
	}
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

/* bpf(2) BPF_PROG_ATTACH of a device program to a cgroup v2 directory. */
int sys_bpf_attach_device(int cgroup, int program, unsigned int flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = flags;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* Orphaned descendants become children of this process instead of init's (prctl(2)). */
int sys_subreaper(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) < 0 ? -errno : 0;
}

/* A socket of rtnetlink(7) in a network namespace. The calling thread is back in its own one afterwards. */
int sys_route_socket(int network)
{
	const int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	if (own < 0)
		return -errno;
	if (setns(network, CLONE_NEWNET) < 0) {
		fd = -errno;
	} else {
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		if (fd < 0)
			fd = -errno;
		if (setns(own, CLONE_NEWNET) < 0)
			abort(); /* whatever this thread did next would be done to the wrong network */
	}
	close(own);
	return fd;
}

/* struct sched_attr of <linux/sched/types.h>, which does not go with <sched.h>: as of Linux 5.3, 56 bytes. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

/* sched_setattr(2) of a process; times in nanoseconds. */
int sys_sched_setattr(int pid, unsigned int policy, int nice, unsigned int priority, unsigned long long flags,
		      unsigned long long runtime, unsigned long long deadline, unsigned long long period)
{
	const struct scheduling attr = {
		.size = sizeof(attr), .policy = policy, .flags = flags, .nice = nice, .priority = priority,
		.runtime = runtime, .deadline = deadline, .period = period,
	};

	return syscall(SYS_sched_setattr, pid, &attr, 0u) < 0 ? -errno : 0;
}

/* ioprio_set(2) of a process; level is an IOPRIO_CLASS_*. */
int sys_ioprio_set(int pid, unsigned int level, unsigned int priority)
{
	const unsigned int value = level << IOPRIO_CLASS_SHIFT | priority;

	return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value) < 0 ? -errno : 0;
}

struct hook {
	const char *path;
	char **argv, **envp;
	const char *directory;
	int input, output;
	int error;
};

/* Without close_range(2): as many as there can be, or as are likely. */
static void close_from(int first)
{
	const long limit = sysconf(_SC_OPEN_MAX);

	if (syscall(SYS_close_range, (unsigned int)first, ~0U, 0U) == 0)
		return;
	for (int fd = first; fd < (limit < 0 || limit > 65536 ? 65536 : limit); fd++)
		close(fd);
}

/* Shares our memory until the exec: system calls, and nothing else. */
static int exec_hook(void *argument)
{
	const struct sigaction by_default = { .sa_handler = SIG_DFL };
	struct hook *hook = argument;
	/* Above 2, wherever they are: our caller may have closed its streams. */
	const int input = fcntl(hook->input, F_DUPFD, 3), output = fcntl(hook->output, F_DUPFD, 3);
	sigset_t none;

	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, &by_default, NULL);
	sigemptyset(&none);
	if (setpgid(0, 0) == 0 && dup2(input, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0) {
		close_from(3);
		if (hook->directory != NULL && chdir(hook->directory) < 0) {
			/* It is gone since: then where we are. */
		}
		sigprocmask(SIG_SETMASK, &none, NULL);
		execve(hook->path, hook->argv, hook->envp);
	}
	hook->error = errno;
	_exit(127);
}

/* A copy of a descriptor of another process (pidfd_getfd(2), Linux 5.6), close-on-exec. */
int sys_take_descriptor(int process, int descriptor)
{
	const long fd = syscall(SYS_pidfd_getfd, process, descriptor, 0);

	return fd < 0 ? -errno : (int)fd;
}

/* Execute a hook as the leader of a process group of its own, with nothing of ours but these two files, and envp (NULL:
 * our environment). Unlike posix_spawn(3) of Python: with an environment of any kind, in another directory, and without
 * the descriptors that our caller has left open. */
int sys_spawn_hook(const char *path, char **argv, char **envp, const char *directory, int input, int output)
{
	char stack[16384] __attribute__((aligned(16)));
	struct hook hook = { path, argv, envp != NULL ? envp : environ, directory, input, output, 0 };
	sigset_t all, before;
	int pid;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before); /* no handler of ours runs in the child */
	pid = clone(exec_hook, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &hook);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid > 0 && hook.error != 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return -hook.error;
	}
	return pid;
}

static long long microseconds(struct timeval time)
{
	return (long long)time.tv_sec * 1000000 + time.tv_usec;
}

/* waitid(P_PIDFD) without waiting: 1 and {si_code, si_status, user and system time in microseconds, ru_maxrss in KiB}
 * of the child that has ended, which is reaped; 0: it has not. The call, since waitid(3) has no room for the usage. */
int sys_wait_process(int pidfd, long long *result)
{
	struct rusage usage;
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	if (syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | WNOHANG, &usage) < 0)
		return -errno;
	if (info.si_pid == 0)
		return 0;
	result[0] = info.si_code;
	result[1] = info.si_status;
	result[2] = microseconds(usage.ru_utime);
	result[3] = microseconds(usage.ru_stime);
	result[4] = usage.ru_maxrss;
	return 1;
}
