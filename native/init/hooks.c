/* createContainer and startContainer hooks (runtime-spec config.md, "Hooks"): run by PID 1, in its namespaces.
 * ocirun/hooks.py is the same for the kinds that the runtime runs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define OUTPUT_SHOWN 2048

struct child {
	const char *path;
	char *const *argv;
	char *const *envp;
	int root;   /* to be in; -1: where we are */
	int base;   /* descriptors 3 .. base-1 are the container's, not the hook's; later ones are close-on-exec */
	int input, output;
	int error;
};

/* Shares our memory until the exec (CLONE_VM): only system calls. */
static int exec_hook(void *argument)
{
	struct child *child = argument;

	if ((child->root < 0 || fchdir(child->root) == 0) && setpgid(0, 0) == 0 && dup2(child->input, 0) >= 0 &&
	    dup2(child->output, 1) >= 0 && dup2(child->output, 2) >= 0) {
		for (int fd = 3; fd < child->base; fd++)
			close(fd);
		execve(child->path, child->argv, child->envp);
	}
	child->error = errno;
	_exit(127);
}

/* Start it, with a pidfd to wait on. The pid, or -errno. */
static int spawn(struct child *child, int *pidfd)
{
	static char stack[16384] __attribute__((aligned(16)));
	const int pid = clone(exec_hook, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, child, pidfd);

	if (pid < 0)
		return -errno;
	if (child->error != 0) {
		close(*pidfd);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return -child->error;
	}
	return pid;
}

static int64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until it ends, its time is over, or the runtime has gone: true when it has ended by itself. */
static bool ends(struct init *init, int pidfd, int timeout)
{
	struct pollfd watched[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = init->socket } };
	const int64_t end = timeout < 0 ? 0 : milliseconds() + (int64_t)timeout * 1000;

	for (;;) {
		int64_t left = timeout < 0 ? -1 : end - milliseconds();
		if (timeout >= 0 && left < 0)
			left = 0;
		if (left > 1000000)
			left = 1000000;
		const int n = poll(watched, 2, (int)left);
		if (n > 0)
			return watched[0].revents != 0;
		if (n < 0 && errno != EINTR)
			return true; /* a filter without poll(2): then without its timeout */
		if (n == 0 && timeout >= 0 && milliseconds() >= end)
			return false;
	}
}

/* What the hook printed, in words behind the reason. */
static void say_with_output(struct init *init, int output, const char *reason, int value, const char *unit)
{
	char text[OUTPUT_SHOWN + 1];
	ssize_t n = pread(output, text, OUTPUT_SHOWN, 0);
	const char *start = text;

	while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
		n--;
	text[n > 0 ? n : 0] = '\0';
	start += strspn(start, " \t\r\n");
	say(init, "%s %d%s%s%s", reason, value, unit, *start != '\0' ? ", output: " : "", start);
}

static int run(struct init *init, struct child *child, int timeout)
{
	int pidfd = -1, status = 0;
	const int pid = spawn(child, &pidfd);
	bool ended;

	if (pid < 0)
		return pid;
	ended = ends(init, pidfd, timeout);
	close(pidfd);
	if (!ended)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		say_with_output(init, child->output, "ran longer than its timeout of", timeout, " s and was killed");
	else if (WIFSIGNALED(status))
		say_with_output(init, child->output, "killed by signal", WTERMSIG(status), "");
	else if (WEXITSTATUS(status) != 0)
		say_with_output(init, child->output, "exit status", WEXITSTATUS(status), "");
	else
		return 0;
	return IN_WORDS;
}

/* The state document as a file to read from its beginning. A descriptor, or -errno. */
static int state_file(struct init *init, const struct op_hook *op)
{
	const int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%s%d%s", plan_str(&init->plan, op->state_head), init->pid, plan_str(&init->plan, op->state_tail)) < 0 ||
	    lseek(fd, 0, SEEK_SET) < 0) {
		const int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int op_hook(struct init *init, const struct op_hook *op)
{
	size_t behind = point_at(init, 0, op->args);
	/* createContainer hooks are in the container's root directory, still found outside of it (as in runc). */
	struct child child = { .path = plan_str(&init->plan, op->path), .root = init->root, .base = init->base };
	int r;

	if (op->args.count == 0) {
		init->pointers[0] = child.path;
		init->pointers[1] = NULL;
		behind = 2;
	}
	(void)point_at(init, behind, op->env);
	child.argv = (char *const *)(uintptr_t)init->pointers;
	child.envp = (char *const *)(uintptr_t)(init->pointers + behind);
	/* Files in memory instead of pipes: a hook that reads nothing, writes a lot, or leaves a daemon behind that keeps
	 * its output open, can block nobody. */
	child.input = state_file(init, op);
	child.output = memfd_create("output", MFD_CLOEXEC);
	if (child.input < 0)
		r = child.input;
	else if (child.output < 0)
		r = -errno;
	else
		r = run(init, &child, op->timeout);
	if (child.input >= 0)
		close(child.input);
	if (child.output >= 0)
		close(child.output);
	return r;
}

int op_mounts_ready(struct init *init, const struct op_mounts_ready *op)
{
	const int r = tell_and_wait(init, MESSAGE_MOUNTS, 0);

	(void)op;
	return r < 0 ? r : 0;
}
