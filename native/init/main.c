/* ocirun-init: performs the records of a plan, first as the outer stage, then (from `clone` on) as the container's
 * PID 1, up to the exec of the user's program. wire.h has the whole picture and says what argv and the descriptors are. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

#define SLOTS_PASSED_MAX 64

/* All 64 signals of the kernel: Python ignores SIGPIPE and SIGXFSZ, nohup SIGHUP, and libcs refuse to touch the two
 * or three real-time signals that they keep for themselves. Ignored and blocked ones would survive the exec. */
static void reset_signals(void)
{
	static const char zeros[64]; /* struct sigaction of any architecture: SIG_DFL, no flags, empty mask */
	const uint64_t none = 0;

	for (int signal = 1; signal <= 64; signal++)
		(void)syscall(SYS_rt_sigaction, signal, zeros, NULL, sizeof(none));
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/* A closed standard descriptor would be reused by whatever is opened first. As the Go runtime does in runc. */
static void open_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", O_RDWR);
}

static int close_listed(int first)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	if (directory == NULL)
		return -errno;
	while ((entry = readdir(directory)) != NULL) {
		const int fd = atoi(entry->d_name); /* "." and "..": 0 */
		if (fd >= first && fd != dirfd(directory))
			close(fd);
	}
	closedir(directory);
	return 0;
}

/* Our own descriptors will not survive the exec, and what the parent could not keep from us is closed at once. */
static int keep_descriptors(int first, int count)
{
	int r;

	for (int fd = first; fd < first + count; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	r = kernel_close_range((unsigned int)(first + count), ~0U, 0);
	return lacks(r) ? close_listed(first + count) : r;
}

static bool is_sealed(int fd)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	const int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & wanted) == wanted;
}

static int read_all(int fd, char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t n = pread(fd, data + done, size - done, (off_t)done);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* What the decoder has seen must not change any more: a sealed memfd is mapped, another file (where there is no
 * memfd_create) copied. */
static int map_plan(struct init *init, int fd)
{
	const bool sealed = is_sealed(fd);
	const int protection = sealed ? PROT_READ : PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | (sealed ? MAP_POPULATE : MAP_ANONYMOUS);
	const char *wrong;
	struct stat st;
	void *data;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	data = mmap(NULL, (size_t)st.st_size, protection, flags, sealed ? fd : -1, 0);
	if (data == MAP_FAILED)
		return -errno;
	r = sealed ? 0 : read_all(fd, data, (size_t)st.st_size);
	if (r < 0)
		return r;
	close(fd);
	if (plan_decode(&init->plan, data, (size_t)st.st_size, &wrong) < 0) {
		say(init, "%s", wrong);
		return IN_WORDS;
	}
	return 0;
}

/* How many pointers the record's argv and envp need. */
static size_t pointers_of(const struct record *record)
{
	if (record->kind == OP_exec) {
		const struct op_exec *op = (const void *)(record + 1);
		return (size_t)op->args.count + op->env.count;
	}
	if (record->kind == OP_hook) {
		const struct op_hook *op = (const void *)(record + 1);
		return (size_t)op->args.count + op->env.count;
	}
	return 0;
}

/* Everything that would need memory later, when a limit or a filter may forbid it. */
static int allocate(struct init *init, int base, int passed)
{
	const uint32_t slots = init->plan.header->slot_count;
	size_t most = 0;

	if ((uint32_t)passed > slots) {
		say(init, "the plan has fewer slots than were passed");
		return IN_WORDS;
	}
	for (const struct record *record = plan_next(&init->plan, NULL); record; record = plan_next(&init->plan, record))
		if (pointers_of(record) > most)
			most = pointers_of(record);
	init->slots = calloc(slots + 1, sizeof(*init->slots));
	init->put_off = calloc(slots + 1, sizeof(*init->put_off));
	init->pointers = calloc(most + 4, sizeof(*init->pointers)); /* two NULLs, HOME, and argv[0] of a hook without args */
	if (init->slots == NULL || init->put_off == NULL || init->pointers == NULL)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < slots; slot++)
		init->slots[slot] = slot < (uint32_t)passed ? base + 2 + (int)slot : -1;
	return 0;
}

#ifdef OCIRUN_TEST_STEPS
/* The tests' build: OCIRUN_INIT_FAIL and OCIRUN_INIT_KILL name the record (index or operation) to fail or die at. */
static bool is_chosen(const char *variable, const struct record *record)
{
	static const char *const names[] = {
#define OP(name, ...) #name,
#include "../ops.def"
#undef OP
	};
	const char *chosen = getenv(variable);
	char index[16];

	snprintf(index, sizeof(index), "%u", record->index);
	return chosen != NULL && (strcmp(chosen, index) == 0 || strcmp(chosen, names[record->kind]) == 0);
}

static int test_step(struct init *init, const struct record *record)
{
	if (is_chosen("OCIRUN_INIT_KILL", record)) {
		/* PID 1 of a pid namespace cannot kill itself by a signal, but every call in strict mode dies of SIGKILL;
		 * where a filter is in place already, a fault kills it too. */
		(void)kill(getpid(), SIGKILL);
		(void)prctl(PR_SET_SECCOMP, 1L, 0L, 0L, 0L);
		(void)getppid();
		__builtin_trap();
	}
	if (!is_chosen("OCIRUN_INIT_FAIL", record))
		return 0;
	say(init, "test");
	return -ECANCELED;
}
#else
#define test_step(init, record) 0
#endif

static int perform(struct init *init, const struct record *record)
{
	const void *op = record + 1;

	switch ((enum op_kind)record->kind) {
#define OP(name, ...)      \
	case OP_##name:    \
		return op_##name(init, op);
#include "../ops.def"
#undef OP
	case OP_COUNT:
		break;
	}
	return -ENOSYS; /* the decoder has refused it */
}

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int op_trace(struct init *init, const struct op_trace *op)
{
	const int fd = slot_fd(init, op->slot);
	struct stat st;
	void *data;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	slot_close(init, op->slot);
	init->times = data;
	init->times_count = (size_t)st.st_size / sizeof(*init->times);
	return 0;
}

static int run(struct init *init, int base, int passed)
{
	int r = keep_descriptors(base, 2 + passed);

	if (r == 0)
		r = map_plan(init, base + 1);
	if (r == 0)
		r = allocate(init, base, passed);
	for (const struct record *record = r == 0 ? plan_next(&init->plan, NULL) : NULL; record != NULL;
	     record = plan_next(&init->plan, record)) {
		init->record = record;
		init->detail[0] = '\0';
		if (record->kind == OP_seccomp)
			init->times = NULL;
		r = test_step(init, record);
		if (r == 0)
			r = perform(init, record);
		if (init->times != NULL && record->index < init->times_count)
			init->times[record->index] = now();
		if (r < 0)
			return r;
	}
	return r;
}

/* A decimal number between 0 and `most`, else -1. */
static int number(const char *text, int most)
{
	char *end;
	const long value = strtol(text, &end, 10);

	return *text == '\0' || *end != '\0' || value < 0 || value > most ? -1 : (int)value;
}

int main(int argc, char **argv)
{
	static struct init init;
	const int base = argc == 3 ? number(argv[1], 1 << 20) : -1;
	const int passed = argc == 3 ? number(argv[2], SLOTS_PASSED_MAX) : -1;
	int r;

	if (base < 3 || passed < 0)
		return 127; /* somebody executed /proc/self/exe of a container, or the like */
	(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
	(void)prctl(PR_SET_NAME, "ocirun:[OUTER]", 0L, 0L, 0L); /* else the kernel calls it memfd:... */
	reset_signals();
	open_standard_descriptors();
	init.base = base;
	init.socket = base;
	init.unprivileged = geteuid() != 0;
	init.root = init.fifo = init.listener = -1;
	r = run(&init, base, passed);
	if (r < 0)
		tell_failure(&init, r);
	return r < 0 ? 1 : 0;
}
