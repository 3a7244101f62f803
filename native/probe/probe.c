/* The tests' own program in a container: tells, as JSON, what its process really has, and does small things on
 * demand. Static, so that a rootfs needs nothing else; never installed.
 *
 *   probe report [path=P ...] [write=P ...] [tree=D ...] [to=FILE]   one JSON document on stdout (or FILE)
 *   probe true | exit N | echo WORD ... | cat [FILE ...] | write FILE TEXT | append FILE TEXT | getcwd
 *   probe sleep SECONDS | pause | spin | trap [FILE]      (trap: tells every signal that comes; ends with TERM, code 15)
 *   probe mkdir DIR | raise SIGNAL | eat BYTES | children N [new-session]   (children: N sleeping ones, then pause)
 *   probe syscall NUMBER [ARGUMENT ...]            the errno of one system call, 0 for success
 *   probe swap A B                                 renameat2(RENAME_EXCHANGE) until killed
 *   probe chase FILE                               tries to get at every new process; tells FILE what it had of it
 *   probe hijack MODE PID FILE                     takes the runtime's socket from every process that is on its way into the
 *                                                  container, and says there what MODE is; tells FILE of each
 *   probe fifo MODE [TEXT]                         opens PID 1's exec fifo again and does what MODE is
 *   probe notify TEXT                              TEXT as a datagram to $NOTIFY_SOCKET, then pause
 *   probe tty                                      a line of what stdin's terminal is
 *
 * Nothing here trusts /proc where a system call tells the same. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* capget(2) and keyctl(2), spelt out: their headers are the kernel's, which musl-gcc does not see. */
#define CAPABILITY_VERSION_3 0x20080522u
#define LAST_CAPABILITY 63
#define KEYCTL_GET_KEYRING_ID 0
#define KEYCTL_DESCRIBE 6
#define KEY_SPEC_SESSION_KEYRING (-3)
#define IOPRIO_WHO_PROCESS 1
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

/* ---- JSON ---- */

static FILE *out;
static bool comma;

static void separate(void)
{
	if (comma)
		fputc(',', out);
	comma = true;
}

static void string(const char *text, size_t length)
{
	fputc('"', out);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c); /* bytes as Latin-1 */
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void key(const char *name)
{
	separate();
	string(name, strlen(name));
	fputc(':', out);
	comma = false;
}

static void open_with(char bracket)
{
	separate();
	fputc(bracket, out);
	comma = false;
}

static void close_with(char bracket)
{
	fputc(bracket, out);
	comma = true;
}

static void number(int64_t value)
{
	separate();
	fprintf(out, "%" PRId64, value);
}

static void text(const char *value)
{
	separate();
	string(value, strlen(value));
}

static void key_number(const char *name, int64_t value)
{
	key(name);
	number(value);
}

static void key_text(const char *name, const char *value)
{
	key(name);
	text(value);
}

/* Capability sets and affinity masks: hexadecimal, as numbers of JSON lose bits above 2^53. */
static void key_hex(const char *name, uint64_t value)
{
	char digits[19];

	snprintf(digits, sizeof digits, "%" PRIx64, value);
	key_text(name, digits);
}

/* The errno's name, for the few that tests tell apart; else its number. */
static const char *errno_name(int error)
{
	static char digits[12];

	switch (error) {
	case 0: return "";
	case EPERM: return "EPERM";
	case ENOENT: return "ENOENT";
	case EACCES: return "EACCES";
	case EROFS: return "EROFS";
	case EISDIR: return "EISDIR";
	case ENOTDIR: return "ENOTDIR";
	case ENXIO: return "ENXIO";
	case ENODEV: return "ENODEV";
	case EINVAL: return "EINVAL";
	case ENOSYS: return "ENOSYS";
	case ELOOP: return "ELOOP";
	case ENOTTY: return "ENOTTY";
	case EBUSY: return "EBUSY";
	case EIO: return "EIO";
	}
	snprintf(digits, sizeof digits, "%d", error);
	return digits;
}

/* ---- report ---- */

static char *read_file(const char *path, size_t *length)
{
	static char content[1 << 18];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*length = 0;
	if (fd < 0)
		return NULL;
	for (;;) {
		ssize_t got = read(fd, content + *length, sizeof content - *length);

		if (got <= 0) {
			int error = got < 0 ? errno : 0;

			close(fd);
			errno = error;
			return error ? NULL : content;
		}
		*length += (size_t)got;
	}
}

static void key_file(const char *name, const char *path)
{
	size_t length;
	char *content = read_file(path, &length);

	key(name);
	separate();
	if (content)
		string(content, length);
	else
		fputs("null", out);
}

static void key_stat(const char *name, const struct stat *st)
{
	char type = S_ISREG(st->st_mode)    ? 'f'
	            : S_ISDIR(st->st_mode)  ? 'd'
	            : S_ISLNK(st->st_mode)  ? 'l'
	            : S_ISCHR(st->st_mode)  ? 'c'
	            : S_ISBLK(st->st_mode)  ? 'b'
	            : S_ISFIFO(st->st_mode) ? 'p'
	                                    : 's';

	key(name);
	open_with('{');
	key_text("type", (char[]){type, 0});
	key_number("mode", st->st_mode & 07777);
	key_number("uid", st->st_uid);
	key_number("gid", st->st_gid);
	key_number("major", major(st->st_rdev));
	key_number("minor", minor(st->st_rdev));
	key_number("dev", (int64_t)st->st_dev);
	key_number("ino", (int64_t)st->st_ino);
	key_number("size", st->st_size);
	close_with('}');
}

static void report_ids(void)
{
	uid_t uid[3];
	gid_t gid[3], groups[1024];
	int count = getgroups((int)COUNT(groups), groups);

	getresuid(&uid[0], &uid[1], &uid[2]);
	getresgid(&gid[0], &gid[1], &gid[2]);
	key("uid");
	open_with('[');
	for (int i = 0; i < 3; i++)
		number(uid[i]);
	close_with(']');
	key("gid");
	open_with('[');
	for (int i = 0; i < 3; i++)
		number(gid[i]);
	close_with(']');
	key("groups");
	open_with('[');
	for (int i = 0; i < count; i++)
		number(groups[i]);
	close_with(']');
}

static void report_capabilities(void)
{
	struct {
		uint32_t version;
		int pid;
	} head = {CAPABILITY_VERSION_3, 0};
	struct {
		uint32_t effective, permitted, inheritable;
	} data[2] = {0};
	uint64_t bounding = 0, ambient = 0;

	syscall(SYS_capget, &head, data);
	for (int cap = 0; cap <= LAST_CAPABILITY; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			bounding |= UINT64_C(1) << cap;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			ambient |= UINT64_C(1) << cap;
	}
	key("capabilities");
	open_with('{');
	key_hex("bounding", bounding);
	key_hex("effective", data[0].effective | (uint64_t)data[1].effective << 32);
	key_hex("permitted", data[0].permitted | (uint64_t)data[1].permitted << 32);
	key_hex("inheritable", data[0].inheritable | (uint64_t)data[1].inheritable << 32);
	key_hex("ambient", ambient);
	close_with('}');
	key_number("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
	key_number("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	key_number("seccomp", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
	key_number("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	key_number("pdeathsig", prctl(PR_GET_PDEATHSIG, &(int){0}, 0, 0, 0));
}

static void report_rlimits(void)
{
	static const struct {
		const char *name;
		int resource;
	} limits[] = {
		{"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
		{"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS},
		{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
		{"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC}, {"RLIMIT_RSS", RLIMIT_RSS},
		{"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
		{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
	};

	key("rlimits");
	open_with('{');
	for (size_t i = 0; i < COUNT(limits); i++) {
		struct rlimit limit;

		getrlimit(limits[i].resource, &limit);
		key(limits[i].name);
		open_with('[');
		number((int64_t)limit.rlim_cur);
		number((int64_t)limit.rlim_max);
		close_with(']');
	}
	close_with('}');
}

static void report_signals(void)
{
	sigset_t blocked, pending;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	key("signals");
	open_with('{');
	key("blocked");
	open_with('[');
	for (int signal = 1; signal < NSIG; signal++)
		if (sigismember(&blocked, signal) == 1)
			number(signal);
	close_with(']');
	key("pending");
	open_with('[');
	for (int signal = 1; signal < NSIG; signal++)
		if (sigismember(&pending, signal) == 1)
			number(signal);
	close_with(']');
	key("ignored");
	open_with('[');
	for (int signal = 1; signal < NSIG; signal++) {
		struct sigaction action;

		if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			number(signal);
	}
	close_with(']');
	close_with('}');
}

/* What sched_getattr(2) says; musl has neither the call nor the struct. */
static void report_sched_attr(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
		uint32_t util_min, util_max;
	} attr = {.size = sizeof attr};

	syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0);
	key("sched_attr");
	open_with('{');
	key_number("policy", attr.policy);
	key_number("flags", (int64_t)attr.flags);
	key_number("nice", attr.nice);
	key_number("priority", attr.priority);
	key_number("runtime", (int64_t)attr.runtime);
	key_number("deadline", (int64_t)attr.deadline);
	key_number("period", (int64_t)attr.period);
	close_with('}');
}

/* get_mempolicy(2): [mode with flags, the first 64 nodes]; [-1, 0] where the kernel has no NUMA. */
static void report_memory_policy(void)
{
	unsigned long nodes[1024 / (8 * sizeof(long))] = {0};
	int mode = -1;

	syscall(SYS_get_mempolicy, &mode, nodes, 8 * sizeof nodes, 0, 0);
	key("memory_policy");
	open_with('[');
	number(mode);
	number((int64_t)nodes[0]);
	close_with(']');
}

static void report_scheduling(void)
{
	cpu_set_t set;
	uint64_t mask = 0;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	for (size_t cpu = 0; cpu < 64; cpu++)
		if (CPU_ISSET(cpu, &set))
			mask |= UINT64_C(1) << cpu;
	key_hex("affinity", mask);
	key_number("scheduler", syscall(SYS_sched_getscheduler, 0));
	errno = 0;
	key_number("nice", getpriority(PRIO_PROCESS, 0));
	key_number("ioprio", syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0));
	report_sched_attr();
	report_memory_policy();
	key_number("persona", syscall(SYS_personality, 0xffffffffUL));
}

static void report_descriptors(void)
{
	key("fds");
	open_with('{');
	for (int fd = 0; fd < 1024; fd++) {
		char name[16], path[32], target[PATH_MAX];
		int flags = fcntl(fd, F_GETFL);
		ssize_t length;
		struct stat st;

		if (flags < 0)
			continue;
		snprintf(name, sizeof name, "%d", fd);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = 0;
		fstat(fd, &st);
		key(name);
		open_with('{');
		key_text("target", target);
		key_number("flags", flags);
		key_number("tty", isatty(fd));
		key_stat("stat", &st);
		close_with('}');
	}
	close_with('}');
}

static void report_session(void)
{
	struct winsize size = {0};
	char id[16];

	snprintf(id, sizeof id, "%d", getpid());
	key_number("pid", getpid());
	key_number("ppid", getppid());
	key_number("sid", getsid(0));
	key_number("pgrp", getpgrp());
	key_number("foreground", tcgetpgrp(0));
	ioctl(0, TIOCGWINSZ, &size);
	key("winsize");
	open_with('[');
	number(size.ws_row);
	number(size.ws_col);
	close_with(']');
}

static void report_keyring(void)
{
	char description[256];
	long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, description, sizeof description);

	/* type;uid;gid;permissions;name */
	key_text("keyring", length > 0 ? description : errno_name(errno));
}

static void report_namespaces(void)
{
	static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};

	key("namespaces");
	open_with('{');
	for (size_t i = 0; i < COUNT(names); i++) {
		char path[32], target[64];
		ssize_t length;

		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = 0;
		key_text(names[i], target);
	}
	close_with('}');
}

static void report_network(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	key("lo");
	separate();
	if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0)
		fputs(request.ifr_flags & IFF_UP ? "\"up\"" : "\"down\"", out);
	else
		fputs("null", out);
	if (fd >= 0)
		close(fd);
}

static void report_clocks(void)
{
	struct timespec monotonic, boottime;

	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_BOOTTIME, &boottime);
	key("clocks");
	open_with('{');
	key_number("monotonic", monotonic.tv_sec);
	key_number("boottime", boottime.tv_sec);
	close_with('}');
}

static void report_tree(const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	key(directory);
	open_with('{');
	while (dir && (entry = readdir(dir))) {
		char target[PATH_MAX];
		ssize_t length;
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		key(entry->d_name);
		open_with('{');
		key_stat("stat", &st);
		if (S_ISLNK(st.st_mode)) {
			length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
			target[length < 0 ? 0 : length] = 0;
			key_text("link", target);
		}
		close_with('}');
	}
	if (dir)
		closedir(dir);
	close_with('}');
}

/* What reading a path gives: its content, or its entries, or an error. */
static void report_path(const char *path)
{
	struct stat st;
	char *content;
	size_t length;

	key(path);
	open_with('{');
	if (stat(path, &st) < 0) {
		key_text("error", errno_name(errno));
		close_with('}');
		return;
	}
	key_stat("stat", &st);
	if (S_ISDIR(st.st_mode)) {
		DIR *dir = opendir(path);
		struct dirent *entry;

		key("list");
		open_with('[');
		while (dir && (entry = readdir(dir)))
			if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
				text(entry->d_name);
		close_with(']');
		if (dir)
			closedir(dir);
	} else {
		content = read_file(path, &length);
		if (content) {
			key("content");
			separate();
			string(content, length > 4096 ? 4096 : length);
		} else {
			key_text("error", errno_name(errno));
		}
	}
	close_with('}');
}

/* Whether a path can be written: opening a file, or making a directory in a directory; "" or the errno. */
static void report_write(const char *path)
{
	char name[PATH_MAX];
	struct stat st;
	int error = 0;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		snprintf(name, sizeof name, "%s/.probe-%d", path, getpid());
		if (mkdir(name, 0700) < 0)
			error = errno;
		else
			rmdir(name);
	} else {
		int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

		if (fd < 0)
			error = errno;
		else
			close(fd);
	}
	key_text(path, errno_name(error));
}

static void report_arguments(const char *name, const char *prefix, char **args, void (*one)(const char *))
{
	key(name);
	open_with('{');
	for (; *args; args++)
		if (!strncmp(*args, prefix, strlen(prefix)))
			one(*args + strlen(prefix));
	close_with('}');
}

static int report(char **all, char **args)
{
	static const char *const files[][2] = {
		{"mountinfo", "/proc/self/mountinfo"}, {"cgroup", "/proc/self/cgroup"}, {"status", "/proc/self/status"},
		{"uid_map", "/proc/self/uid_map"}, {"gid_map", "/proc/self/gid_map"}, {"setgroups", "/proc/self/setgroups"},
		{"oom_score_adj", "/proc/self/oom_score_adj"}, {"timens_offsets", "/proc/self/timens_offsets"},
		{"personality", "/proc/self/personality"}, {"cmdline", "/proc/self/cmdline"},
		{"coredump_filter", "/proc/self/coredump_filter"},
	};
	char cwd[PATH_MAX], comm[17] = {0};
	const char *to = NULL;
	struct utsname names;
	mode_t mask = umask(0);

	umask(mask);
	for (char **arg = args; *arg; arg++)
		if (!strncmp(*arg, "to=", 3))
			to = *arg + 3;
	/* The report's own descriptor must not be in the report. */
	char *document = NULL;
	size_t length = 0;

	out = open_memstream(&document, &length);
	open_with('{');
	report_ids();
	report_capabilities();
	report_rlimits();
	report_signals();
	report_scheduling();
	report_session();
	report_descriptors();
	report_keyring();
	report_namespaces();
	report_network();
	report_clocks();
	key_number("umask", mask);
	prctl(PR_GET_NAME, comm, 0, 0, 0);
	key_text("comm", comm);
	key_text("cwd", syscall(SYS_getcwd, cwd, sizeof cwd) > 0 ? cwd : errno_name(errno));
	uname(&names);
	key_text("hostname", names.nodename);
	key_text("domainname", names.domainname);
	key_text("machine", names.machine);
	key("argv");
	open_with('[');
	for (char **arg = all; *arg; arg++)
		text(*arg);
	close_with(']');
	key("env");
	open_with('[');
	for (char **variable = environ; *variable; variable++)
		text(*variable);
	close_with(']');
	for (size_t i = 0; i < COUNT(files); i++)
		key_file(files[i][0], files[i][1]);
	report_arguments("paths", "path=", args, report_path);
	report_arguments("writes", "write=", args, report_write);
	report_arguments("trees", "tree=", args, report_tree);
	close_with('}');
	fputc('\n', out);
	fclose(out);

	int fd = to ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : 1;

	for (size_t done = 0; done < length;) {
		ssize_t wrote = write(fd, document + done, length - done);

		if (wrote <= 0)
			return 1;
		done += (size_t)wrote;
	}
	return 0;
}

/* ---- the other commands ---- */

static int complain(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int write_text(const char *path, const char *value, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);

	if (fd < 0)
		return complain(path);
	if (write(fd, value, strlen(value)) < 0)
		return complain(path);
	return 0;
}

static int cat(char **paths)
{
	char block[4096];

	do {
		int fd = *paths ? open(*paths, O_RDONLY | O_CLOEXEC) : 0;
		ssize_t got;

		if (fd < 0)
			return complain(*paths);
		while ((got = read(fd, block, sizeof block)) > 0)
			if (write(1, block, (size_t)got) != got)
				return complain("write");
		if (got < 0)
			return complain(*paths ? *paths : "stdin");
	} while (*paths && *++paths);
	return 0;
}

static int trap(const char *path)
{
	sigset_t all;
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : 1;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	dprintf(fd, "ready\n");
	for (;;) {
		siginfo_t info;
		int signal = sigwaitinfo(&all, &info);

		if (signal < 0)
			continue;
		dprintf(fd, "%d\n", signal);
		if (signal == SIGTERM)
			return SIGTERM;
	}
}

static int children(int number, bool new_session)
{
	for (int i = 0; i < number; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return complain("fork");
		if (pid == 0) {
			if (new_session)
				setsid();
			for (;;)
				pause();
		}
	}
	dprintf(1, "ready\n");
	for (;;)
		pause();
}

static int eat(size_t bytes)
{
	volatile char *memory = malloc(bytes);

	if (!memory)
		return complain("malloc");
	for (size_t at = 0; at < bytes; at += 4096)
		memory[at] = 1;
	return 0;
}

static int one_syscall(char **args)
{
	long arguments[6] = {0}, number = strtol(args[0], NULL, 0);

	for (int i = 0; i < 6 && args[i + 1]; i++)
		arguments[i] = strtol(args[i + 1], NULL, 0);
	errno = 0;
	long result = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);

	printf("%d\n", result < 0 ? errno : 0);
	return 0;
}

static _Noreturn void swap(const char *a, const char *b)
{
	for (;;)
		if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0)
			usleep(100);
}

static void read_comm(const char *pid, char comm[32])
{
	char path[64];
	int fd;

	comm[0] = 0;
	snprintf(path, sizeof path, "/proc/%s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, comm, 31) <= 0)
		comm[0] = 0;
	comm[strcspn(comm, "\n")] = 0;
	close(fd);
}

/* What a descriptor is, by its link in /proc; and whether our own root lies above it, for the link of what lies
 * outside looks as if it began there. */
static void tell_target(FILE *found, const char *what, const char *link)
{
	char target[PATH_MAX];
	ssize_t length = readlink(link, target, sizeof target - 1);
	struct stat st, inside;

	target[length < 0 ? 0 : length] = 0;
	fprintf(found, "%s\t%s", what, length < 0 ? errno_name(errno) : target);
	if (length > 0 && target[0] == '/' && stat(link, &st) == 0 &&
	    (stat(target, &inside) < 0 || st.st_ino != inside.st_ino || st.st_dev != inside.st_dev))
		fprintf(found, "\tforeign");
	fprintf(found, "\n");
}

/* One look at a process that is not ours: everything of it that should be out of reach. */
static void look_at(FILE *found, const char *pid)
{
	static const char *const files[] = {"exe", "mem", "environ", "maps", "root", "cwd", "auxv"};
	char path[PATH_MAX], link[PATH_MAX], what[PATH_MAX];
	DIR *dir;

	for (size_t i = 0; i < COUNT(files); i++) {
		int fd, again;

		snprintf(path, sizeof path, "/proc/%s/%s", pid, files[i]);
		fd = open(path, (!strcmp(files[i], "mem") ? O_RDWR : O_RDONLY) | O_CLOEXEC);
		if (fd < 0)
			continue;
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		tell_target(found, files[i], link);
		/* The way of CVE-2019-5736: what cannot be written while it runs may be so afterwards. */
		again = strcmp(files[i], "exe") ? -1 : open(link, O_WRONLY | O_CLOEXEC);
		if (again >= 0) {
			if (write(again, "#!", 2) == 2)
				tell_target(found, "exe-overwritten", link);
			close(again);
		}
		close(fd);
	}
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(link, sizeof link, "/proc/%s/fd/%s", pid, entry->d_name);
		fd = open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		snprintf(what, sizeof what, "%s/%s", fd < 0 ? "fd-seen" : "fd", entry->d_name);
		if (fd >= 0) /* the other's link may be to something else by now */
			snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		tell_target(found, what, link);
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
	if (ptrace(PTRACE_SEIZE, (pid_t)atoi(pid), 0, 0) == 0) {
		fprintf(found, "ptrace\t-\n");
		ptrace(PTRACE_INTERRUPT, (pid_t)atoi(pid), 0, 0); /* only what has stopped can be let go */
		waitpid((pid_t)atoi(pid), NULL, __WALL);
		ptrace(PTRACE_DETACH, (pid_t)atoi(pid), 0, 0);
	}
}

/* Looks at every new process, for ever. Those that were there first, and those that run the probe (before or after the
 * look: the container's own) are no secret. A line of the file: the process's name, what was had, what that is, and
 * "foreign" where that is not what this process finds by the same name. */
static int chase(const char *path)
{
	static bool known[1 << 22];
	int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	bool first = true;

	if (log < 0)
		return complain(path);
	for (;; first = false) {
		DIR *proc = opendir("/proc");

		if (!proc)
			return complain("/proc");
		for (struct dirent *entry; (entry = readdir(proc));) {
			char before[32], after[32], *text = NULL, *line;
			size_t length = 0;
			int pid = atoi(entry->d_name);
			FILE *found;

			if (pid <= 0 || pid >= (int)COUNT(known) || pid == getpid() || known[pid])
				continue;
			if (first) {
				known[pid] = true;
				continue;
			}
			read_comm(entry->d_name, before);
			if (!strcmp(before, "probe")) {
				known[pid] = true;
				continue;
			}
			found = open_memstream(&text, &length);
			look_at(found, entry->d_name);
			fclose(found);
			read_comm(entry->d_name, after);
			if (before[0] && after[0] && strcmp(after, "probe")) {
				dprintf(log, "%s\tlooked\t-\n", before);
				for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
					dprintf(log, "%s\t%s\n", before, line);
			}
			free(text);
		}
		closedir(proc);
		if (first)
			dprintf(log, "ready\n");
	}
}

/* ---- The wire and the exec fifo in other hands (native/init/wire.h) ---- */

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
enum { MAPS = 1, PID, MOUNTS, READY, ERROR, ACK };

static void say_on_wire(int wire, uint32_t type, int32_t arg, uint32_t index, int32_t error, size_t size)
{
	struct {
		uint32_t type;
		int32_t arg;
		uint32_t index;
		int32_t error;
		char text[8192];
	} message = { type, arg, index, error, "" };

	(void)send(wire, &message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The SEQPACKET socket of a process, as a descriptor of ours; -1. */
static int take_wire(int pidfd)
{
	for (int fd = 3; fd < 16; fd++) {
		const int taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		int type = 0;
		socklen_t size = sizeof(type);

		if (taken >= 0 && getsockopt(taken, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET)
			return taken;
		if (taken >= 0)
			close(taken);
	}
	return -1;
}

/* With the process stopped. */
static void speak(const char *mode, int wire, int pid, int victim)
{
	const size_t head = 16;

	if (!strcmp(mode, "pid-kill-error")) { /* the victim is killed by who undoes the exec */
		say_on_wire(wire, PID, victim, 0, 0, head);
		kill(pid, SIGKILL);
		say_on_wire(wire, ERROR, 0, 0, EPERM, head);
	} else if (!strcmp(mode, "pid-ready")) { /* the victim is named in the pid file */
		say_on_wire(wire, PID, victim, 0, 0, head);
		say_on_wire(wire, READY, 0, 0, 0, head);
		kill(pid, SIGCONT);
	} else if (!strcmp(mode, "maps")) { /* and its id maps are written */
		say_on_wire(wire, MAPS, victim, 0, 0, head);
		kill(pid, SIGCONT);
	} else if (!strcmp(mode, "zero")) { /* waitpid(0), kill(0): everybody */
		say_on_wire(wire, PID, 0, 0, 0, head);
		say_on_wire(wire, PID, -1, 0, 0, head);
		kill(pid, SIGKILL);
	} else if (!strcmp(mode, "garbage")) {
		say_on_wire(wire, 4711, -1, UINT32_MAX, -1, 5);
		say_on_wire(wire, ERROR, -1, UINT32_MAX, INT32_MIN, head + 8000);
		kill(pid, SIGCONT);
	} else if (!strcmp(mode, "shutdown")) { /* an end of file without an exec */
		shutdown(wire, SHUT_RDWR);
		kill(pid, SIGCONT);
	} else { /* "hold": an exec without an end of file */
		kill(pid, SIGCONT);
	}
}

static int hijack(const char *mode, int victim, const char *path)
{
	static bool known[1 << 22];
	const int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (log < 0)
		return complain(path);
	dprintf(log, "ready\n");
	for (;;) {
		DIR *proc = opendir("/proc");

		if (!proc)
			return complain("/proc");
		for (struct dirent *entry; (entry = readdir(proc));) {
			const int pid = atoi(entry->d_name);
			char name[32];
			int pidfd, wire = -1;

			if (pid <= 1 || pid >= (int)COUNT(known) || known[pid])
				continue;
			read_comm(entry->d_name, name);
			if (strncmp(name, "ocirun:", 7)) {
				known[pid] = !strcmp(name, "probe");
				continue;
			}
			pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
			if (pidfd >= 0 && kill(pid, SIGSTOP) == 0)
				wire = take_wire(pidfd);
			if (wire >= 0) {
				known[pid] = true;
				speak(mode, wire, pid, victim);
				dprintf(log, "taken\n"); /* and kept open */
			} else {
				kill(pid, SIGCONT);
			}
			close(pidfd);
		}
		closedir(proc);
	}
}

/* The fifo among PID 1's descriptors, opened again; -1. */
static int open_fifo(void)
{
	for (int number = 3; number < 64; number++) {
		char link[64];
		struct stat st;

		snprintf(link, sizeof link, "/proc/1/fd/%d", number);
		if (stat(link, &st) == 0 && S_ISFIFO(st.st_mode))
			return open(link, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	errno = ENOENT;
	return -1;
}

static int meddle(const char *mode, const char *text)
{
	const int fifo = open_fifo();
	char byte;

	if (fifo < 0)
		return complain("the fifo");
	if (!strcmp(mode, "write"))
		(void)!write(fifo, text, strlen(text));
	while (!strcmp(mode, "fill") && write(fifo, text, strlen(text)) > 0)
		;
	printf("ready\n");
	fflush(stdout);
	for (time_t end = time(NULL) + 1; !strcmp(mode, "take") && time(NULL) < end;)
		(void)!read(fifo, &byte, 1);
	for (;;) /* "hold", and after everything else */
		pause();
}

static int notify(const char *text)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path ? path : "");
	if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, sizeof(address)) < 0)
		return complain(address.sun_path);
	for (;;)
		pause();
}

static int describe_tty(void)
{
	struct termios settings;
	char name[64];

	if (!isatty(0))
		return complain("stdin");
	tcgetattr(0, &settings);
	printf("%s session=%d foreground=%d onlcr=%d\n", ttyname_r(0, name, sizeof name) ? "?" : name,
	       tcgetsid(0) == getsid(0), tcgetpgrp(0) == getpgrp(), (settings.c_oflag & ONLCR) != 0);
	return 0;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "true";
	char **args = argc > 2 ? argv + 2 : argv + argc;
	int count = argc > 2 ? argc - 2 : 0;

	if (!strcmp(command, "report"))
		return report(argv, args);
	if (!strcmp(command, "true"))
		return 0;
	if (!strcmp(command, "exit") && count == 1)
		return atoi(args[0]);
	if (!strcmp(command, "echo")) {
		for (int i = 0; i < count; i++)
			printf("%s%s", i ? " " : "", args[i]);
		puts("");
		return 0;
	}
	if (!strcmp(command, "cat"))
		return cat(args);
	if (!strcmp(command, "write") && count == 2)
		return write_text(args[0], args[1], O_TRUNC);
	if (!strcmp(command, "append") && count == 2)
		return write_text(args[0], args[1], O_APPEND);
	if (!strcmp(command, "getcwd")) {
		char cwd[PATH_MAX];

		puts(syscall(SYS_getcwd, cwd, sizeof cwd) > 0 ? cwd : strerror(errno));
		return 0;
	}
	if (!strcmp(command, "sleep") && count == 1) {
		usleep((useconds_t)(atof(args[0]) * 1e6));
		return 0;
	}
	if (!strcmp(command, "pause"))
		for (;;)
			pause();
	if (!strcmp(command, "spin"))
		for (volatile unsigned turns = 0;;)
			turns++;
	if (!strcmp(command, "trap"))
		return trap(args[0]);
	if (!strcmp(command, "mkdir") && count == 1)
		return mkdir(args[0], 0755) < 0 ? complain(args[0]) : 0;
	if (!strcmp(command, "raise") && count == 1) {
		signal(atoi(args[0]), SIG_DFL);
		raise(atoi(args[0]));
		pause();
	}
	if (!strcmp(command, "eat") && count == 1)
		return eat(strtoull(args[0], NULL, 0));
	if (!strcmp(command, "children") && count >= 1)
		return children(atoi(args[0]), count > 1 && !strcmp(args[1], "new-session"));
	if (!strcmp(command, "syscall") && count >= 1)
		return one_syscall(args);
	if (!strcmp(command, "swap") && count == 2)
		swap(args[0], args[1]);
	if (!strcmp(command, "chase") && count == 1)
		return chase(args[0]);
	if (!strcmp(command, "hijack") && count == 3)
		return hijack(args[0], atoi(args[1]), args[2]);
	if (!strcmp(command, "fifo") && count >= 1)
		return meddle(args[0], count > 1 ? args[1] : "");
	if (!strcmp(command, "notify") && count == 1)
		return notify(args[0]);
	if (!strcmp(command, "tty"))
		return describe_tty();
	fprintf(stderr, "probe: unknown command %s\n", command);
	return 2;
}
