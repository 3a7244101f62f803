/* The system calls that the runtime itself needs and Python's standard library does not have.
 * Every function returns a descriptor, a pid or 0, or -errno. Typed for Python in ocirun/_native.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys.h"

/* Newer than the headers of Debian 12. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static int copy(int to, int from)
{
	off_t offset = 0;
	struct stat st;

	if (fstat(from, &st) < 0)
		return -errno;
	while (offset < st.st_size) {
		ssize_t n = sendfile(to, from, &offset, (size_t)(st.st_size - offset));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

static int sealed_memfd(int source, unsigned int flags)
{
	int fd = (int)syscall(SYS_memfd_create, "ocirun-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int r;

	if (fd < 0)
		return -errno;
	r = copy(fd, source);
	/* F_SEAL_EXEC (6.3) also fixes the mode bits; older kernels refuse the unknown seal. */
	if (r == 0 && fcntl(fd, F_ADD_SEALS, seals | F_SEAL_EXEC) < 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
		r = -errno;
	if (r == 0) {
		/* vm.memfd_noexec=1 makes memfds without MFD_EXEC non-executable instead of refusing them. */
		struct stat st;
		if (fstat(fd, &st) < 0)
			r = -errno;
		else if (!(st.st_mode & S_IXUSR))
			r = -EACCES;
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int unlinked_file(int source, const char *directory)
{
	char path[64];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0500);
	int readonly, r;

	if (fd < 0)
		return -errno;
	r = copy(fd, source);
	if (r < 0) {
		close(fd);
		return r;
	}
	/* A file open for writing cannot be executed (ETXTBSY). */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	r = readonly < 0 ? -errno : readonly;
	close(fd);
	return r;
}

/* A private copy of the program in `source` that nobody can write to any more, as a descriptor to execute.
 * The rungs of the ladder, from first_rung on: 0 memfd with MFD_EXEC (6.3), 1 memfd without it, 2 an unlinked file
 * in `directory`. *rung is the one that held. */
int sys_program(int source, const char *directory, int first_rung, int *rung)
{
	int fd = -EINVAL;

	for (*rung = first_rung; *rung <= 2; ++*rung) {
		if (*rung == 0)
			fd = sealed_memfd(source, MFD_EXEC);
		else if (*rung == 1)
			fd = sealed_memfd(source, 0);
		else
			fd = unlinked_file(source, directory);
		if (fd >= 0)
			return fd;
	}
	return fd;
}

struct child {
	int program;
	char *const *argv;
	char *const *envp;
	const int *stdio;
	int base;
	const int *descriptors;
	int count;
	int error;
};

/* Runs in the parent's memory (CLONE_VM) until the exec: no libc state is touched, only descriptors. */
static int exec_child(void *argument)
{
	struct child *child = argument;
	int above = child->base + child->count + 1;
	int moved[64], standard[3];
	int i, program;

	/* Out of the way first: a source may be the target of another. */
	for (i = 0; i < child->count; i++) {
		moved[i] = fcntl(child->descriptors[i], F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			goto fail;
	}
	for (i = 0; i < 3; i++) {
		standard[i] = child->stdio[i] == i ? i : fcntl(child->stdio[i], F_DUPFD_CLOEXEC, above);
		if (standard[i] < 0)
			goto fail;
	}
	program = fcntl(child->program, F_DUPFD_CLOEXEC, above);
	if (program < 0)
		goto fail;
	for (i = 0; i < 3; i++)
		if (standard[i] != i && dup2(standard[i], i) < 0)
			goto fail;
	for (i = 0; i < child->count; i++)
		if (dup2(moved[i], child->base + i) < 0)
			goto fail;
	/* Everything else of the parent; a kernel or a seccomp filter without close_range leaves it to the init. */
	(void)syscall(SYS_close_range, (unsigned int)(child->base + child->count), ~0U, CLOSE_RANGE_CLOEXEC);
	syscall(SYS_execveat, program, "", child->argv, child->envp, AT_EMPTY_PATH);
fail:
	child->error = errno;
	_exit(127);
}

/* Execute `program` with stdio[0..2] as 0, 1 and 2, the descriptors 3 .. base-1 as they are, and descriptors[i] as
 * base + i, without copying the caller's page tables (CLONE_VM | CLONE_VFORK: a large embedding program would pay
 * milliseconds for them). All signals stay blocked until the program resets its mask, so that no handler of the
 * caller runs in the child. */
int sys_spawn(int program, char *const argv[], char *const envp[], const int *stdio, int base,
	      const int *descriptors, int count, int *pidfd)
{
	struct child child = { program, argv, envp, stdio, base, descriptors, count, 0 };
	const size_t stack_size = 64 * 1024;
	sigset_t all, old;
	char *stack;
	int pid;

	if (count < 0 || count > 64 || base < 3)
		return -EINVAL;
	stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = clone(exec_child, stack + stack_size, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &child, pidfd);
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	munmap(stack, stack_size);
	if (pid > 0 && child.error != 0) {
		close(*pidfd);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return -child.error;
	}
	return pid;
}

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
