/* createContainer and startContainer hooks (runtime-spec config.md, "Hooks"): run by PID 1, in its namespaces.
 * ocirun/launch/hooks.py is the same for the kinds that the runtime runs. */
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
#include "kernel.h"

#define OUTPUT_SHOWN 2048

struct child {
	const char *path;
	char *const *argv;
	char *const *envp;
	int root;   /* to be in; -1: where we are */
	int base;   /* descriptors 3 .. base-1 are the container's, not the hook's; later ones are close-on-exec */
	int input, output;
	int printed; /* the output, to be read */
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

	if (n < 0 && errno == ESPIPE)
		n = read(output, text, OUTPUT_SHOWN);

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
		say_with_output(init, child->printed, "ran longer than its timeout of", timeout, " s and was killed");
	else if (WIFSIGNALED(status))
		say_with_output(init, child->printed, "killed by signal", WTERMSIG(status), "");
	else if (WEXITSTATUS(status) != 0)
		say_with_output(init, child->printed, "exit status", WEXITSTATUS(status), "");
	else
		return 0;
	return IN_WORDS;
}

/* Files in memory instead of pipes: a hook that reads nothing, writes a lot, or leaves a daemon behind that keeps its
 * output open, can block nobody. Under a filter without memfd_create(2) the largest pipe has to do. Both ends of it are
 * set, to the same file if it is one; or -errno. */
static int open_buffer(const char *name, int ends[2])
{
	ends[0] = memfd_create(name, MFD_CLOEXEC);
	if (ends[0] < 0 && !lacks(-errno))
		return -errno;
	if (ends[0] < 0) {
		if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
			return -errno;
		(void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		return 0;
	}
	ends[1] = fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
	return ends[1] < 0 ? -errno : 0;
}

static void close_end(int *end)
{
	if (*end >= 0)
		close(*end);
	*end = -1;
}

/* The state document, to be read from its beginning. A descriptor, or -errno. "For hooks executed in the container
 * namespace, it is the pid as seen by the container" (runtime.md, State). */
static int state_file(struct init *init, const struct op_hook *op)
{
	int ends[2] = { -1, -1 };
	int r = open_buffer("state", ends);

	if (r == 0 && dprintf(ends[1], "%s%d%s", plan_str(&init->plan, op->state_head), getpid(),
			      plan_str(&init->plan, op->state_tail)) < 0)
		r = -errno;
	close_end(&ends[1]);
	if (r == 0 && lseek(ends[0], 0, SEEK_SET) < 0 && errno != ESPIPE)
		r = -errno;
	if (r == 0 && fcntl(ends[0], F_SETFL, 0) < 0)
		r = -errno;
	if (r < 0)
		close_end(&ends[0]);
	return r < 0 ? r : ends[0];
}

int op_hook(struct init *init, const struct op_hook *op)
{
	size_t behind = point_at(init, 0, op->args);
	int output[2] = { -1, -1 };
	/* createContainer hooks are in the container's root directory, still found outside of it (as in runc). */
	struct child child = { .path = plan_str(&init->plan, op->path), .root = init->root, .base = init->base };
	int r;

	if (op->args.count == 0) {
		init->pointers[0] = child.path;
		init->pointers[1] = NULL;
		behind = 2;
	}
	(void)point_at(init, behind, op->env);
	if (op->home)
		complete_home(init, init->pointers + behind, getuid());
	child.argv = (char *const *)(uintptr_t)init->pointers;
	child.envp = (char *const *)(uintptr_t)(init->pointers + behind);
	child.input = state_file(init, op);
	r = child.input < 0 ? child.input : open_buffer("output", output);
	child.printed = output[0];
	child.output = output[1];
	if (r == 0 && fcntl(child.output, F_SETFL, 0) < 0)
		r = -errno;
	if (r == 0)
		r = run(init, &child, op->timeout);
	close_end(&child.input);
	close_end(&output[0]);
	close_end(&output[1]);
	return r;
}

int op_mounts_ready(struct init *init, const struct op_mounts_ready *op)
{
	const int r = tell_and_wait(init, MESSAGE_MOUNTS, 0);

	(void)op;
	return r < 0 ? r : 0;
}
