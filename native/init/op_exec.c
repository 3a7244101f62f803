/* The last steps: the working directory, the executable, the runtime's word, the exec. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"
#include "home.h"
#include "init.h"
#include "inroot.h"
#include "kernel.h"
#include "program.h"

/* A working directory such as /proc/self/fd/7 may lie outside of the root (CVE-2024-21626). */
static int refuse_cwd(struct init *init)
{
	say(init, "current working directory is outside of container mount namespace root -- possible container breakout detected");
	return IN_WORDS;
}

/* The kernel says so in front of its path, or that there is none. The system call itself, since glibc's wrapper would
 * search for one. */
static int check_cwd(struct init *init)
{
	char path[PATH_MAX];
	const long n = syscall(SYS_getcwd, path, sizeof(path));

	if (n < 0 && errno != ENOENT)
		return -errno;
	return n > 0 && path[0] == '/' ? 0 : refuse_cwd(init);
}

/* No magic link is followed: it would end at a descriptor of ours. */
static int enter_cwd(struct init *init, const char *path)
{
	struct stat st;
	int fd = inroot_open(init, path, 0);

	if (fd == -ELOOP)
		return stat(path, &st) == 0 ? refuse_cwd(init) : -errno;
	return fd < 0 ? fd : closing(fd, fchdir(fd) < 0 ? -errno : 0);
}

int op_chdir(struct init *init, const struct op_chdir *op)
{
	/* Tried as root first, who may get where the user may not, and once more as the user if that was refused. */
	if (!init->in_cwd) {
		int r = enter_cwd(init, plan_str(&init->plan, op->path));

		if (r < 0)
			return !op->required && (r == -EACCES || r == -EPERM) ? 0 : r;
		init->in_cwd = true;
	}
	return check_cwd(init);
}

/* The last PATH of an environment; "" without one, as in Go: nothing is found then. */
static const char *path_in(struct init *init, field_strv env)
{
	const char *path = "";

	for (uint32_t i = 0; i < env.count; i++) {
		const char *entry = plan_strv(&init->plan, env, i);
		if (strncmp(entry, "PATH=", 5) == 0)
			path = entry + 5;
	}
	return path;
}

/* Go's LookPath: the first that could be executed; nothing else in PATH counts, whatever is wrong with it. */
static int search_path(struct init *init, const char *name, const char *path)
{
	while (*path != '\0') {
		const size_t length = strcspn(path, ":");
		const int n = snprintf(init->executable, sizeof(init->executable), "%.*s/%s", length > 0 ? (int)length : 1,
				       length > 0 ? path : ".", name);
		if (n > 0 && (size_t)n < sizeof(init->executable) && check_executable(init->executable) == 0) {
			if (init->executable[0] == '/')
				return 0;
			say(init, "exec: \"%s\": cannot run executable found relative to current directory", name);
			return IN_WORDS;
		}
		path += length + (path[length] == ':');
	}
	say(init, "exec: \"%s\": executable file not found in $PATH", name);
	return IN_WORDS;
}

static int take_path(struct init *init, const char *name)
{
	struct stat st;
	int r;

	if (strlen(name) >= sizeof(init->executable))
		return -ENAMETOOLONG;
	strcpy(init->executable, name);
	r = check_executable(name);
	if (r < 0)
		say(init, "exec: \"%s\"%s%s", name, stat(name, &st) < 0 ? ": stat " : "", stat(name, &st) < 0 ? name : "");
	return r;
}

int op_find_executable(struct init *init, const struct op_find_executable *op)
{
	const char *name = plan_str(&init->plan, op->name);
	char wrong[PROGRAM_TEXT_MAX];
	int r;

	if (strchr(name, '/') != NULL)
		r = take_path(init, name);
	else
		r = search_path(init, name, path_in(init, op->env));
	if (r < 0)
		return r;
	r = check_program(init->executable, wrong);
	if (r < 0)
		say(init, "exec: \"%s\": %s", name, wrong);
	return r;
}

/* Of the parent's descriptors only the fifo outlives this; nothing of the host is open while a container waits. */
static void close_all_but_fifo(struct init *init)
{
	uint32_t fifo = NO_SLOT;
	const struct record *record = init->record;

	while ((record = plan_next(&init->plan, record)) != NULL)
		if (record->kind == OP_wait_start)
			fifo = ((const struct op_wait_start *)(const void *)(record + 1))->slot;
	for (uint32_t slot = 0; slot < init->plan.header->slot_count; slot++)
		if (slot != fifo)
			slot_close(init, slot);
	if (init->root >= 0)
		close(init->root);
	init->root = -1;
}

int op_ready(struct init *init, const struct op_ready *op)
{
	int r;

	(void)op;
	close_all_but_fifo(init);
	r = tell_and_wait(init, MESSAGE_READY, 0);
	/* The agent has it by now. As long as we had one too, nobody would notice that the agent has gone. */
	if (init->listener >= 0)
		close(init->listener);
	init->listener = -1;
	return r < 0 ? r : 0;
}

int op_wait_start(struct init *init, const struct op_wait_start *op)
{
	const int fifo = slot_fd(init, op->slot);
	/* The parent opened it for reading and writing: there is no end-of-file. */
	struct pollfd readable = { .fd = fifo, .events = POLLIN };

	if (fifo < 0)
		return fifo;
	close(init->socket);
	init->socket = -1;
	while (poll(&readable, 1, -1) < 0)
		if (errno != EINTR)
			return -errno;
	init->fifo = fifo;
	return 0;
}

/* Take the byte that `start` has written. It stays in the fifo until the last moment: where `start` finds it when
 * this process is gone, there has been no exec. The fifo is not a blocking one: whoever can open it by our /proc may
 * have taken the byte, which has been seen all the same. */
static int take_the_word(int fifo)
{
	char byte;
	ssize_t n;

	do
		n = read(fifo, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n < 0 && errno != EAGAIN ? -errno : 0;
}

size_t point_at(struct init *init, size_t at, field_strv list)
{
	for (uint32_t i = 0; i < list.count; i++)
		init->pointers[at++] = plan_strv(&init->plan, list, i);
	init->pointers[at++] = NULL;
	return at;
}

bool lacks_home(const struct init *init)
{
	const struct record *record = init->record;
	const struct op_exec *op = NULL;
	const char *home = "";

	while ((record = plan_next(&init->plan, record)) != NULL)
		if (record->kind == OP_exec)
			op = (const void *)(record + 1);
	for (uint32_t i = 0; op != NULL && i < op->env.count; i++) {
		const char *entry = plan_strv(&init->plan, op->env, i);
		if (strncmp(entry, "HOME=", 5) == 0)
			home = entry + 5;
	}
	return *home == '\0';
}

void complete_home(struct init *init, const char **envp, uint32_t uid)
{
	while (*envp != NULL && strncmp(*envp, "HOME=", 5) != 0)
		envp++;
	if (*envp != NULL && (*envp)[5] != '\0')
		return;
	if (init->home[0] == '\0')
		note_home(init, uid);
	if (*envp == NULL)
		envp[1] = NULL;
	*envp = init->home;
}

void note_home(struct init *init, uint32_t uid)
{
	strcpy(init->home, "HOME=");
	find_home(uid, init->home + 5, sizeof(init->home) - 5);
}

int op_exec(struct init *init, const struct op_exec *op)
{
	const size_t behind = point_at(init, 0, op->args);
	const char **argv = init->pointers, **envp = init->pointers + behind;
	int r;

	if (op->preserve > (uint32_t)init->base - 3) {
		say(init, "%u descriptors to preserve, %d are there", op->preserve, init->base - 3);
		return IN_WORDS;
	}
	(void)point_at(init, behind, op->env);
	complete_home(init, envp, op->uid);
	/* From base on all are born close-on-exec. */
	for (int fd = 3 + (int)op->preserve; fd < init->base; fd++)
		close(fd);
	if (init->fifo >= 0 && (r = take_the_word(init->fifo)) < 0)
		return r;
	execve(init->executable, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)envp);
	r = -errno;
	say(init, "%s", init->executable);
	return r;
}
