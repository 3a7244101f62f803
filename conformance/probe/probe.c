/* The program inside the containers: it says what it finds, as one JSON document, and does what it is told.
 *
 *     probe report WORD...      facts about this process, then what each WORD asks for (see `actions` below)
 *     probe hook FILE NAME [exit=N] [sleep=S] [WORD...]      a hook: one line of facts and its standard input, appended to FILE
 *     probe exit N | sleep S | pause | trap FILE | echo TEXT | tty | orphans N
 *     probe enter FILE COMMAND...      executes a program of the host in the namespace that FILE is
 *
 * Static and without any file of its own, so that an empty root file system is enough. */

#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

extern char **environ;

/* ---- JSON ---- */

static FILE *out;
static bool first = true;

static void separate(void)
{
	if (!first)
		fputc(',', out);
	first = false;
}

static void quoted(const char *text, size_t length)
{
	fputc('"', out);
	for (size_t i = 0; i < length; i++) {
		const unsigned char byte = (unsigned char)text[i];

		/* Bytes above ASCII become the code point of the same number: Latin-1, so that any bytes survive. */
		if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", byte);
		else if (byte < 0x20 || byte >= 0x7f)
			fprintf(out, "\\u%04x", byte);
		else
			fputc(byte, out);
	}
	fputc('"', out);
}

static void key(const char *name)
{
	separate();
	quoted(name, strlen(name));
	fputc(':', out);
	first = true;
}

static void begin(char bracket)
{
	separate();
	fputc(bracket, out);
	first = true;
}

static void end(char bracket)
{
	fputc(bracket, out);
	first = false;
}

static void text(const char *value)
{
	separate();
	quoted(value, strlen(value));
}

static void number(long long value)
{
	separate();
	fprintf(out, "%lld", value);
}

static void null(void)
{
	separate();
	fputs("null", out);
}

static void key_text(const char *name, const char *value)
{
	key(name);
	text(value);
}

static void key_number(const char *name, long long value)
{
	key(name);
	number(value);
}

/* ---- files ---- */

static const char *errno_name(int error)
{
	static const struct { int number; const char *name; } names[] = {
		{0, ""}, {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EBADF, "EBADF"}, {EBUSY, "EBUSY"}, {EEXIST, "EEXIST"},
		{EINVAL, "EINVAL"}, {EIO, "EIO"}, {EISDIR, "EISDIR"}, {ELOOP, "ELOOP"}, {ENODEV, "ENODEV"}, {ENOENT, "ENOENT"},
		{ENOSYS, "ENOSYS"}, {ENOTDIR, "ENOTDIR"}, {ENOTTY, "ENOTTY"}, {ENXIO, "ENXIO"}, {EPERM, "EPERM"}, {EROFS, "EROFS"},
		{ENOSPC, "ENOSPC"}, {ENOMEM, "ENOMEM"}, {ESRCH, "ESRCH"}, {ENOTSUP, "ENOTSUP"}, {ETXTBSY, "ETXTBSY"},
		{ENOEXEC, "ENOEXEC"}, {EXDEV, "EXDEV"}, {EFAULT, "EFAULT"}, {ECONNREFUSED, "ECONNREFUSED"},
	};
	static char other[16];

	for (size_t i = 0; i < COUNT(names); i++)
		if (names[i].number == error)
			return names[i].name;
	snprintf(other, sizeof other, "E%d", error);
	return other;
}

/* All of a file or of a descriptor, at most 1 MiB; NULL and errno on failure. */
static char *read_fd(int fd, size_t *length)
{
	const size_t most = 1 << 20;
	char *content = malloc(most + 1);
	ssize_t got = 0;

	*length = 0;
	while (content && *length < most && (got = read(fd, content + *length, most - *length)) > 0)
		*length += (size_t)got;
	if (content && got < 0) {
		free(content);
		return NULL;
	}
	if (content)
		content[*length] = 0;
	return content;
}

static char *read_file(const char *path, size_t *length)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *content;
	int error;

	if (fd < 0)
		return NULL;
	content = read_fd(fd, length);
	error = errno;
	close(fd);
	errno = error;
	return content;
}

static void key_file(const char *name, const char *path)
{
	size_t length;
	char *content = read_file(path, &length);

	key(name);
	if (content) {
		separate();
		quoted(content, length);
	} else {
		null();
	}
	free(content);
}

static void key_link(const char *name, const char *path)
{
	char target[PATH_MAX];
	const ssize_t length = readlink(path, target, sizeof target);

	key(name);
	if (length < 0) {
		null();
	} else {
		separate();
		quoted(target, (size_t)length);
	}
}

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "directory";
	case S_IFLNK: return "symlink";
	case S_IFCHR: return "c";
	case S_IFBLK: return "b";
	case S_IFIFO: return "p";
	case S_IFSOCK: return "socket";
	default: return "?";
	}
}

static void stat_fields(const struct stat *st)
{
	key_text("type", type_of(st->st_mode));
	key_number("mode", st->st_mode & 07777);
	key_number("uid", st->st_uid);
	key_number("gid", st->st_gid);
	key_number("major", major(st->st_rdev));
	key_number("minor", minor(st->st_rdev));
	key_number("size", st->st_size);
	key_number("dev", (long long)st->st_dev);
	key_number("ino", (long long)st->st_ino);
	key_number("nlink", (long long)st->st_nlink);
}

/* ---- facts ---- */

static void ids(void)
{
	uid_t uids[3];
	gid_t gids[3], groups[4096];
	const int count = getgroups((int)COUNT(groups), groups);

	if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0)
		return;
	key("uids");
	begin('[');
	for (size_t i = 0; i < 3; i++)
		number(uids[i]);
	end(']');
	key("gids");
	begin('[');
	for (size_t i = 0; i < 3; i++)
		number(gids[i]);
	end(']');
	key("groups");
	begin('[');
	for (int i = 0; i < count; i++)
		number(groups[i]);
	end(']');
}

static void rlimits(void)
{
	static const struct { const char *name; int resource; } resources[] = {
		{"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU}, {"RLIMIT_DATA", RLIMIT_DATA},
		{"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS}, {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
		{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE}, {"RLIMIT_NOFILE", RLIMIT_NOFILE},
		{"RLIMIT_NPROC", RLIMIT_NPROC}, {"RLIMIT_RSS", RLIMIT_RSS}, {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
		{"RLIMIT_RTTIME", RLIMIT_RTTIME}, {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
	};

	key("rlimits");
	begin('{');
	for (size_t i = 0; i < COUNT(resources); i++) {
		struct { uint64_t soft, hard; } limit;

		/* The system call itself: no library rounds or splits its numbers. */
		if (syscall(SYS_prlimit64, 0, resources[i].resource, NULL, &limit) < 0)
			continue;
		key(resources[i].name);
		begin('[');
		separate();
		fprintf(out, "%llu,%llu", (unsigned long long)limit.soft, (unsigned long long)limit.hard);
		end(']');
	}
	end('}');
}

static void cpus(const char *name)
{
	unsigned char mask[1024] = {0};
	const long length = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);

	key(name);
	begin('[');
	for (long i = 0; i < length * 8; i++)
		if (mask[i / 8] & (1 << (i % 8)))
			number(i);
	end(']');
}

static void scheduling(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attributes = {.size = 48};
	unsigned long nodes[16] = {0};
	int mode = -1;

	key("scheduler");
	if (syscall(SYS_sched_getattr, 0, &attributes, 48, 0) < 0) {
		null();
	} else {
		begin('{');
		key_number("policy", attributes.policy);
		key_number("flags", (long long)attributes.flags);
		key_number("nice", attributes.nice);
		key_number("priority", attributes.priority);
		key_number("runtime", (long long)attributes.runtime);
		key_number("deadline", (long long)attributes.deadline);
		key_number("period", (long long)attributes.period);
		end('}');
	}
	key_number("ioprio", syscall(SYS_ioprio_get, 1, 0));
	cpus("cpus");
	key("memory_policy");
	if (syscall(SYS_get_mempolicy, &mode, nodes, 1024UL, NULL, 0UL) < 0) {
		null();
	} else {
		begin('{');
		key_number("mode", mode & 0xff);
		key_number("flags", mode & ~0xff);
		key_number("nodes", (long long)nodes[0]);
		end('}');
	}
}

/* Those that were open when the probe began: never its own. */
static void descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	key("descriptors");
	begin('{');
	while (directory && (entry = readdir(directory))) {
		char path[64];
		struct stat st;
		const int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		key(entry->d_name);
		begin('{');
		key_link("link", path);
		if (fstat(fd, &st) == 0)
			stat_fields(&st);
		key_number("flags", fcntl(fd, F_GETFL));
		key_number("terminal", isatty(fd));
		end('}');
	}
	if (directory)
		closedir(directory);
	end('}');
}

static void namespaces_of(long pid)
{
	static const char *const names[][2] = {{"cgroup", "cgroup"}, {"ipc", "ipc"}, {"mount", "mnt"}, {"network", "net"},
	                                       {"pid", "pid"}, {"time", "time"}, {"user", "user"}, {"uts", "uts"}};

	begin('{');
	for (size_t i = 0; i < COUNT(names); i++) {
		char path[64];

		if (pid)
			snprintf(path, sizeof path, "/proc/%ld/ns/%s", pid, names[i][1]);
		else
			snprintf(path, sizeof path, "/proc/self/ns/%s", names[i][1]);
		key_link(names[i][0], path);
	}
	end('}');
}

static void interfaces(void)
{
	struct if_nameindex *all = if_nameindex();
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	key("interfaces");
	begin('{');
	for (struct if_nameindex *one = all; one && one->if_name; one++) {
		struct ifreq request = {0};

		key(one->if_name);
		memcpy(request.ifr_name, one->if_name, strnlen(one->if_name, IFNAMSIZ - 1));
		begin('{');
		if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
			key_number("up", (request.ifr_flags & IFF_UP) != 0);
		if (ioctl(fd, SIOCGIFADDR, &request) == 0) {
			const unsigned char *address = (unsigned char *)request.ifr_addr.sa_data + 2;
			char dotted[16];

			snprintf(dotted, sizeof dotted, "%u.%u.%u.%u", address[0], address[1], address[2], address[3]);
			key_text("address", dotted);
		}
		if (ioctl(fd, SIOCGIFHWADDR, &request) == 0) {
			const unsigned char *address = (unsigned char *)request.ifr_hwaddr.sa_data;
			char dotted[18];

			snprintf(dotted, sizeof dotted, "%02x:%02x:%02x:%02x:%02x:%02x", address[0], address[1], address[2], address[3],
			         address[4], address[5]);
			key_text("hardware", dotted);
		}
		if (ioctl(fd, SIOCGIFMTU, &request) == 0)
			key_number("mtu", request.ifr_mtu);
		end('}');
	}
	end('}');
	if (all)
		if_freenameindex(all);
	if (fd >= 0)
		close(fd);
}

static void clocks(void)
{
	struct timespec monotonic, boottime;

	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_BOOTTIME, &boottime);
	key("clocks");
	begin('{');
	key_number("monotonic", monotonic.tv_sec);
	key_number("boottime", boottime.tv_sec);
	end('}');
}

static void strings(const char *name, char **all)
{
	key(name);
	begin('[');
	for (; *all; all++)
		text(*all);
	end(']');
}

static void keyring(void)
{
	char description[256] = {0};

	/* KEYCTL_DESCRIBE (6) of KEY_SPEC_SESSION_KEYRING (-3): type;uid;gid;permissions;name */
	key("keyring");
	if (syscall(SYS_keyctl, 6, -3, description, sizeof description - 1) < 0)
		null();
	else
		text(description);
}

static void facts(char **argv)
{
	static const char *const files[] = {"mountinfo", "cgroup", "status", "uid_map", "gid_map", "setgroups", "oom_score_adj",
	                                    "timens_offsets", "personality", "attr/current", "comm"};
	char cwd[PATH_MAX];
	struct utsname names;
	struct stat st;
	const mode_t mask = umask(0);

	umask(mask);
	ids();
	rlimits();
	scheduling();
	descriptors();
	key("namespaces");
	namespaces_of(0);
	interfaces();
	clocks();
	keyring();
	key_number("pid", getpid());
	key_number("ppid", getppid());
	key_number("pgid", getpgid(0));
	key_number("sid", getsid(0));
	key_number("umask", mask);
	key("cwd");
	if (syscall(SYS_getcwd, cwd, sizeof cwd) > 0)
		text(cwd);
	else
		null();
	uname(&names);
	key_text("hostname", names.nodename);
	key_text("domainname", names.domainname);
	key_text("machine", names.machine);
	if (stat("/", &st) == 0) {
		key("root");
		begin('{');
		stat_fields(&st);
		end('}');
	}
	strings("argv", argv);
	strings("env", environ);
	for (size_t i = 0; i < COUNT(files); i++) {
		char path[64];

		snprintf(path, sizeof path, "/proc/self/%s", files[i]);
		key_file(files[i], path);
	}
}

/* ---- actions: each word is NAME=ARGUMENT, and its result is the value of that word in "actions" ---- */

static void outcome(int result)
{
	key_text("error", errno_name(result < 0 ? errno : 0));
}

static void do_stat(char *path)
{
	struct stat st;
	struct statvfs fs;

	if (lstat(path, &st) < 0) {
		outcome(-1);
		return;
	}
	outcome(0);
	stat_fields(&st);
	if (S_ISLNK(st.st_mode))
		key_link("link", path);
	if (statvfs(path, &fs) == 0) {
		key_number("fs_flags", (long long)fs.f_flag);
		key_number("fs_size", (long long)(fs.f_blocks * fs.f_frsize));
	}
}

static void do_follow(char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		outcome(-1);
		return;
	}
	outcome(0);
	stat_fields(&st);
}

/* The first 64 KiB of a file, or the entries of a directory. */
static void do_read(char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		DIR *directory = opendir(path);
		struct dirent *entry;

		outcome(directory ? 0 : -1);
		key("entries");
		begin('[');
		while (directory && (entry = readdir(directory)))
			if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
				text(entry->d_name);
		end(']');
		if (directory)
			closedir(directory);
	} else {
		char block[65536];
		const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		const ssize_t got = fd < 0 ? -1 : read(fd, block, S_ISCHR(st.st_mode) ? 16 : sizeof block);

		outcome(got < 0 ? -1 : 0);
		if (got >= 0) {
			key("content");
			separate();
			quoted(block, (size_t)got);
		}
		if (fd >= 0)
			close(fd);
	}
}

/* PATH, or PATH:TEXT: opening for writing (and writing); of a directory: making one in it. */
static void do_write(char *argument)
{
	char *content = strchr(argument, ':'), name[PATH_MAX];
	struct stat st;

	if (content)
		*content++ = 0;
	if (stat(argument, &st) == 0 && S_ISDIR(st.st_mode)) {
		snprintf(name, sizeof name, "%.4000s/.probe", argument);
		outcome(mkdir(name, 0700));
		rmdir(name);
	} else {
		const int fd = open(argument, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

		if (fd < 0)
			outcome(-1);
		else
			outcome(content && write(fd, content, strlen(content)) < 0 ? -1 : 0);
		if (fd >= 0)
			close(fd);
	}
}

static void do_create(char *argument)
{
	char *content = strchr(argument, ':');
	int fd;

	if (content)
		*content++ = 0;
	fd = open(argument, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0) {
		outcome(-1);
		return;
	}
	outcome(content && write(fd, content, strlen(content)) < 0 ? -1 : 0);
	close(fd);
}

static void do_open(char *argument)
{
	/* rw:PATH, r:PATH, w:PATH */
	char *path = strchr(argument, ':');
	const int flags = !strncmp(argument, "rw:", 3) ? O_RDWR : argument[0] == 'w' ? O_WRONLY : O_RDONLY;
	const int fd = path ? open(path + 1, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;

	outcome(fd);
	if (fd >= 0)
		close(fd);
}

static void do_mkdir(char *path) { outcome(mkdir(path, 0777)); }
static void do_unlink(char *path) { outcome(unlink(path)); }
static void do_chdir(char *path) { outcome(chdir(path)); }

static void do_chown(char *argument)
{
	/* UID:GID:PATH */
	char *rest;
	const uid_t uid = (uid_t)strtoul(argument, &rest, 10);
	const gid_t gid = (gid_t)strtoul(rest + 1, &rest, 10);

	outcome(chown(rest + 1, uid, gid));
}

static void do_mknod(char *argument)
{
	/* TYPE:MAJOR:MINOR:PATH */
	char *rest;
	const unsigned int from = (unsigned int)strtoul(argument + 2, &rest, 10), to = (unsigned int)strtoul(rest + 1, &rest, 10);

	outcome(mknod(rest + 1, (argument[0] == 'b' ? S_IFBLK : S_IFCHR) | 0600, makedev(from, to)));
}

static void do_mount(char *argument)
{
	/* TYPE:SOURCE:TARGET; the type "bind" binds */
	char *source = strchr(argument, ':'), *target = source ? strchr(source + 1, ':') : NULL;

	if (!target)
		return;
	*source++ = 0;
	*target++ = 0;
	outcome(strcmp(argument, "bind") ? mount(source, target, argument, 0, NULL) : mount(source, target, NULL, MS_BIND, NULL));
}

static void do_umount(char *path) { outcome(umount2(path, MNT_DETACH)); }

/* Executes PATH: its exit code, or why it cannot be. */
static void do_exec(char *path)
{
	int status = 0, pipes[2], error = 0;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return;
	fflush(out);
	pid = fork();
	if (pid == 0) {
		char *arguments[] = {path, (char *)"exit", (char *)"7", NULL};

		execv(path, arguments);
		error = errno;
		if (write(pipes[1], &error, sizeof error) < 0)
			_exit(126);
		_exit(127);
	}
	close(pipes[1]);
	if (read(pipes[0], &error, sizeof error) < 0)
		error = EIO;
	close(pipes[0]);
	waitpid(pid, &status, 0);
	errno = error;
	outcome(error ? -1 : 0);
	key_number("code", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* The effective ids and capabilities of a program when it runs set-user-ID: of a copy of the probe at PATH. */
static void do_ids_of(char *path)
{
	int status = 0, pipes[2];
	char line[256] = {0};
	pid_t pid;

	if (pipe(pipes) < 0)
		return;
	fflush(out);
	pid = fork();
	if (pid == 0) {
		char *arguments[] = {path, (char *)"ids", NULL};

		dup2(pipes[1], 1);
		execv(path, arguments);
		_exit(127);
	}
	close(pipes[1]);
	if (read(pipes[0], line, sizeof line - 1) < 0)
		line[0] = 0;
	close(pipes[0]);
	waitpid(pid, &status, 0);
	line[strcspn(line, "\n")] = 0;
	key_text("ids", line);
	key_number("code", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static const struct { const char *name; long number; } calls[] = {
	{"getcwd", SYS_getcwd}, {"lseek", SYS_lseek}, {"uname", SYS_uname}, {"personality", SYS_personality},
	{"sethostname", SYS_sethostname}, {"setdomainname", SYS_setdomainname}, {"mkdirat", SYS_mkdirat}, {"fchmodat", SYS_fchmodat},
	{"splice", SYS_splice}, {"getppid", SYS_getppid}, {"unshare", SYS_unshare}, {"kill", SYS_kill}, {"sync", SYS_sync},
	{"setpriority", SYS_setpriority}, {"getpriority", SYS_getpriority}, {"nanosleep", SYS_nanosleep}, {"socket", SYS_socket},
	{"chroot", SYS_chroot}, {"keyctl", SYS_keyctl}, {"setuid", SYS_setuid}, {"setgid", SYS_setgid}, {"dup", SYS_dup},
};

struct call {
	long number, arguments[6];
};

static bool parse_call(char *argument, struct call *call)
{
	char *rest = strchr(argument, ':');

	memset(call, 0, sizeof *call);
	call->number = -1;
	if (rest)
		*rest++ = 0;
	for (size_t i = 0; i < COUNT(calls); i++)
		if (!strcmp(argument, calls[i].name))
			call->number = calls[i].number;
	for (int i = 0; i < 6 && rest; i++) {
		call->arguments[i] = (long)strtoull(rest, &rest, 0);
		rest = *rest == ':' ? rest + 1 : NULL;
	}
	return call->number >= 0;
}

static long make_call(const struct call *call)
{
	const long *a = call->arguments;

	return syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int trap_pipe;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	const int data[2] = {signal, info->si_errno};

	(void)context;
	if (write(trap_pipe, data, sizeof data) < 0)
		_exit(1);
	_exit(0);
}

static void *call_in_thread(void *call)
{
	make_call(call);
	return NULL;
}

/* A system call of a child of its own, as NAME:ARGUMENT:...: its errno, the signal that ends it, or the data of the trap. */
static void do_syscall(char *argument)
{
	struct call call;
	int status = 0, pipes[2], data[2] = {0, 0};
	ssize_t got;
	pid_t pid;

	if (!parse_call(argument, &call) || pipe2(pipes, O_CLOEXEC) < 0) {
		key_text("error", "unknown");
		return;
	}
	fflush(out);
	pid = fork();
	if (pid == 0) {
		struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
		long result;

		trap_pipe = pipes[1];
		sigaction(SIGSYS, &action, NULL);
		errno = 0;
		result = make_call(&call);
		data[1] = result < 0 ? errno : 0;
		if (write(pipes[1], data, sizeof data) < 0)
			_exit(1);
		_exit(0);
	}
	close(pipes[1]);
	got = read(pipes[0], data, sizeof data);
	close(pipes[0]);
	waitpid(pid, &status, 0);
	if (got == (ssize_t)sizeof data && data[0]) {
		key_number("trapped", data[1]);
	} else if (WIFSIGNALED(status)) {
		key_number("signal", WTERMSIG(status));
	} else {
		key_number("errno", data[1]);
		key_text("error", errno_name(data[1]));
	}
}

#ifdef __x86_64__
/* lseek(2) of a bad descriptor by the call of 32-bit programs: its errno, or the signal that ends it. */
static void do_call32(char *unused)
{
	int status = 0, pipes[2], data = 0;
	pid_t pid;

	(void)unused;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return;
	fflush(out);
	pid = fork();
	if (pid == 0) {
		long result;

		signal(SIGSYS, SIG_DFL);
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(19), "b"(1000), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
		data = -(int)result;
		if (write(pipes[1], &data, sizeof data) < 0)
			_exit(1);
		_exit(0);
	}
	close(pipes[1]);
	if (read(pipes[0], &data, sizeof data) < 0)
		data = -1;
	close(pipes[0]);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		key_number("signal", WTERMSIG(status));
	else
		key_number("errno", data);
}
#endif

/* The same in a second thread: whether the process outlives it. */
static void do_thread(char *argument)
{
	struct call call;
	int status = 0;
	pid_t pid;

	if (!parse_call(argument, &call))
		return;
	fflush(out);
	pid = fork();
	if (pid == 0) {
		const struct timespec moment = {.tv_nsec = 50000000};
		pthread_t thread;

		if (pthread_create(&thread, NULL, call_in_thread, &call))
			_exit(126);
		nanosleep(&moment, NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	key_number(WIFSIGNALED(status) ? "signal" : "code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* The same under a tracer: the number that the filter hands to it. */
static void do_traced(char *argument)
{
	struct call call;
	int status = 0;
	pid_t pid;

	if (!parse_call(argument, &call))
		return;
	fflush(out);
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		make_call(&call);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	if (WIFSTOPPED(status) && status >> 8 == (SIGTRAP | (PTRACE_EVENT_SECCOMP << 8))) {
		unsigned long message = 0;

		ptrace(PTRACE_GETEVENTMSG, pid, 0, &message);
		key_number("traced", (long long)message);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Forks that many children, which wait: how many there are, and the first error. */
static void do_fork(char *argument)
{
	const int wanted = atoi(argument);
	pid_t pids[4096];
	int made = 0, error = 0;

	fflush(out);
	while (made < wanted && made < (int)COUNT(pids)) {
		pids[made] = fork();
		if (pids[made] == 0)
			for (;;)
				pause();
		if (pids[made] < 0) {
			error = errno;
			break;
		}
		made++;
	}
	for (int i = 0; i < made; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	key_number("made", made);
	key_text("error", errno_name(error));
}

/* Touches that many bytes in a child: its signal or 0. */
static void do_eat(char *argument)
{
	const size_t bytes = strtoull(argument, NULL, 0);
	int status = 0;
	pid_t pid;

	fflush(out);
	pid = fork();
	if (pid == 0) {
		volatile char *memory;
		char text_of_score[] = "1000";
		const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

		/* The child, not the probe, is to be killed. */
		if (score >= 0 && write(score, text_of_score, 4) < 0)
			_exit(126);
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			_exit(1);
		for (size_t at = 0; at < bytes; at += 4096)
			memory[at] = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	key_number("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	key_number("code", WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

/* Computes for that many milliseconds of the clock on the wall: those of the processor that it got. */
static void do_spin(char *argument)
{
	const long long wanted = atoll(argument) * 1000000;
	struct timespec start, now, used;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000LL + now.tv_nsec - start.tv_nsec < wanted);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	key_number("wall", (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
	key_number("used", used.tv_sec * 1000 + used.tv_nsec / 1000000);
}

/* Whether reading changes the time of access: where it is older than that of the last change (relatime), and where it is
 * newer than both kinds of change (strictatime alone). */
static void do_atime(char *path)
{
	const time_t now = time(NULL);

	for (int i = 0; i < 2; i++) {
		const struct timespec times[2] = {{.tv_sec = i ? now + 1000 : now - 100}, {.tv_sec = now - 50}};
		struct stat st;
		char byte;
		int fd;

		if (utimensat(AT_FDCWD, path, times, 0) < 0 || stat(path, &st) < 0) {
			outcome(-1);
			return;
		}
		if (S_ISDIR(st.st_mode)) {
			DIR *directory = opendir(path);

			while (directory && readdir(directory))
				;
			if (directory)
				closedir(directory);
		} else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
			if (read(fd, &byte, 1) < 0)
				outcome(-1);
			close(fd);
		}
		if (stat(path, &st) == 0)
			key_number(i ? "strict" : "relative", st.st_atim.tv_sec != times[0].tv_sec);
	}
}

/* Waits until a path is there, at most 10 seconds. */
static void do_wait(char *path)
{
	const struct timespec moment = {.tv_nsec = 2000000};

	for (int i = 0; i < 5000 && access(path, F_OK) < 0; i++)
		nanosleep(&moment, NULL);
	outcome(access(path, F_OK));
}

static void do_window(char *unused)
{
	struct winsize size = {0};
	char name[64];

	(void)unused;
	outcome(ioctl(0, TIOCGWINSZ, &size));
	key_number("rows", size.ws_row);
	key_number("columns", size.ws_col);
	key("name");
	if (ttyname_r(0, name, sizeof name))
		null();
	else
		text(name);
	key_number("controlling", tcgetsid(0) == getsid(0));
}

static void do_process(char *argument)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%s/comm", argument);
	key_file("comm", path);
}

static const struct { const char *name; void (*run)(char *); } actions[] = {
	{"stat", do_stat}, {"follow", do_follow}, {"read", do_read}, {"write", do_write}, {"create", do_create}, {"open", do_open},
	{"mkdir", do_mkdir}, {"unlink", do_unlink}, {"chdir", do_chdir}, {"chown", do_chown}, {"mknod", do_mknod}, {"mount", do_mount},
	{"umount", do_umount}, {"exec", do_exec}, {"ids", do_ids_of}, {"syscall", do_syscall}, {"thread", do_thread},
	{"traced", do_traced}, {"fork", do_fork}, {"eat", do_eat}, {"spin", do_spin}, {"atime", do_atime}, {"wait", do_wait},
	{"window", do_window}, {"process", do_process},
#ifdef __x86_64__
	{"call32", do_call32},
#endif
};

static void act(char **words)
{
	key("actions");
	begin('{');
	for (; *words; words++) {
		char *argument = strchr(*words, '=');

		for (size_t i = 0; argument && i < COUNT(actions); i++)
			if (strlen(actions[i].name) == (size_t)(argument - *words) &&
			    !strncmp(*words, actions[i].name, strlen(actions[i].name))) {
				char *copy = strdup(argument + 1);

				key(*words);
				begin('{');
				if (copy)
					actions[i].run(copy);
				end('}');
				free(copy);
			}
	}
	end('}');
}

/* ---- commands ---- */

static int complain(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int put(int fd, const char *content, size_t length)
{
	for (size_t done = 0; done < length;) {
		const ssize_t wrote = write(fd, content + done, length - done);

		if (wrote <= 0)
			return complain("write");
		done += (size_t)wrote;
	}
	return 0;
}

static const char *option(char **words, const char *name)
{
	const size_t length = strlen(name);

	for (; *words; words++)
		if (!strncmp(*words, name, length) && (*words)[length] == '=')
			return *words + length + 1;
	return NULL;
}

static int report(char **argv, char **words)
{
	char *document = NULL;
	size_t length = 0;

	out = open_memstream(&document, &length);
	if (!out)
		return complain("memory");
	begin('{');
	facts(argv);
	act(words);
	end('}');
	fputc('\n', out);
	fclose(out);
	return put(1, document, length);
}

/* What there is to see of the process that the state on standard input names. */
static void container_of(const char *state)
{
	const char *at = strstr(state, "\"pid\"");
	char path[64];
	struct stat st;
	long pid;

	if (!at)
		return;
	at += 5;
	at += strspn(at, " \t\n:");
	pid = strtol(at, NULL, 10);
	key("container");
	begin('{');
	key_number("pid", pid);
	if (pid > 0) {
		static const char *const files[] = {"mountinfo", "cmdline", "cgroup", "comm"};

		key("namespaces");
		namespaces_of(pid);
		for (size_t i = 0; i < COUNT(files); i++) {
			snprintf(path, sizeof path, "/proc/%ld/%s", pid, files[i]);
			key_file(files[i], path);
		}
		snprintf(path, sizeof path, "/proc/%ld/root/.", pid);
		if (stat(path, &st) == 0) {
			key("root");
			begin('{');
			stat_fields(&st);
			end('}');
		}
	}
	end('}');
}

static int hook(char **argv, char **words)
{
	char *document = NULL, *input;
	size_t length = 0, got = 0;
	const char *code = option(words, "exit"), *seconds = option(words, "sleep");
	int fd;

	out = open_memstream(&document, &length);
	if (!out)
		return complain("memory");
	input = read_fd(0, &got);
	begin('{');
	key_text("hook", words[1]);
	key("stdin");
	separate();
	quoted(input ? input : "", input ? got : 0);
	container_of(input ? input : "");
	facts(argv);
	act(words + 2);
	end('}');
	fputc('\n', out);
	fclose(out);
	fd = open(words[0], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		return complain(words[0]);
	if (put(fd, document, length))
		return 1;
	if (seconds) {
		const double wanted = atof(seconds);
		const struct timespec pause_for = {.tv_sec = (time_t)wanted, .tv_nsec = (long)((wanted - (double)(time_t)wanted) * 1e9)};

		nanosleep(&pause_for, NULL);
		/* Whoever was not aborted says so. */
		put(fd, "{\"hook\":\"slept\"}\n", 17);
	}
	return code ? atoi(code) : 0;
}

/* Writes the number of each signal that comes to a file; ends with SIGTERM. */
static int trap(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	sigset_t all;

	if (fd < 0)
		return complain(path);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	dprintf(fd, "ready\n");
	for (;;) {
		int received;

		if (sigwait(&all, &received))
			continue;
		dprintf(fd, "%d\n", received);
		if (received == SIGTERM)
			return 0;
	}
}

static _Noreturn void orphans(int wanted)
{
	for (int i = 0; i < wanted; i++)
		if (fork() == 0)
			for (;;)
				pause();
	dprintf(1, "ready\n");
	for (;;)
		pause();
}

static int enter(const char *path, char **command)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, 0) < 0)
		return complain(path);
	execvp(command[0], command);
	return complain(command[0]);
}

/* Waits, in new namespaces of the kinds given by the letters of unshare(1), until its standard input ends. */
static int hold(const char *kinds)
{
	static const struct { char letter; int flag; } flags[] = {{'m', CLONE_NEWNS}, {'u', CLONE_NEWUTS}, {'i', CLONE_NEWIPC},
	                                                          {'n', CLONE_NEWNET}, {'p', CLONE_NEWPID}, {'C', CLONE_NEWCGROUP},
	                                                          {'U', CLONE_NEWUSER}, {'T', 0x00000080}};
	int wanted = 0;
	char byte;
	pid_t pid = 0;

	for (; *kinds; kinds++)
		for (size_t i = 0; i < COUNT(flags); i++)
			if (flags[i].letter == *kinds)
				wanted |= flags[i].flag;
	if (unshare(wanted) < 0)
		return complain("unshare");
	if (wanted & (CLONE_NEWPID | 0x00000080)) {
		/* These namespaces are those of children; a pid namespace lives as long as its first process. */
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	printf("%d\n", pid ? (int)pid : (int)getpid());
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	if (pid)
		kill(pid, SIGKILL);
	return 0;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	char **words = argc > 2 ? argv + 2 : argv + argc;
	const int count = argc > 2 ? argc - 2 : 0;

	if (!strcmp(command, "report"))
		return report(argv, words);
	if (!strcmp(command, "hook") && count >= 2)
		return hook(argv, words);
	if (!strcmp(command, "exit"))
		return count ? atoi(words[0]) : 0;
	if (!strcmp(command, "sleep") && count == 1) {
		sleep((unsigned int)atoi(words[0]));
		return 0;
	}
	if (!strcmp(command, "pause"))
		for (;;)
			pause();
	if (!strcmp(command, "trap") && count == 1)
		return trap(words[0]);
	if (!strcmp(command, "echo") && count == 1) {
		puts(words[0]);
		return 0;
	}
	if (!strcmp(command, "touch") && count == 1) {
		const int fd = open(words[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

		return fd < 0 ? complain(words[0]) : 0;
	}
	if (!strcmp(command, "ids")) {
		printf("%u %u\n", geteuid(), getegid());
		return 0;
	}
	if (!strcmp(command, "orphans") && count == 1)
		orphans(atoi(words[0]));
	if (!strcmp(command, "enter") && count >= 2)
		return enter(words[0], words + 1);
	if (!strcmp(command, "hold") && count == 1)
		return hold(words[0]);
	fprintf(stderr, "probe: unknown command \"%s\"\n", command);
	return 2;
}
