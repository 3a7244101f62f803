/* Performs the file-system records of a plan in this process, without a runtime: what the init does between
 * `enter_root` and `readonly`, for tests/native/test_fs_*.py.
 *
 *     fs_driver PLAN-FD [SLOT-FD ...]
 *
 * Then it prints one line, "ok" or "<index> <errno> <words>" of the record that failed, and the process
 * stays as it is until its standard input ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

void say(struct init *init, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(init->detail, sizeof(init->detail), format, arguments);
	va_end(arguments);
}

int op_unshare(struct init *init, const struct op_unshare *op)
{
	(void)init;
	return unshare((int)op->flags) < 0 ? -errno : 0;
}

#define FILE_SYSTEM_OPERATIONS(DO)                                                                                  \
	DO(unshare) DO(user_namespace) DO(idmap) DO(make_node)                                                      \
	DO(new_mount) DO(open_tree) DO(enter_root) DO(propagation) DO(mount_root) DO(use_root) DO(mount) DO(bind) DO(setattr)     \
	DO(mkdir) DO(symlink) DO(mknod) DO(bind_device) DO(pivot_root) DO(move_root) DO(chroot)                     \
	DO(root_here) DO(root_propagation) DO(root_readonly) DO(sysctl) DO(mask) DO(readonly) DO(console) DO(reopen_dev_null) DO(label) DO(file_label)

static int perform(struct init *init, const struct record *record)
{
	const void *op = record + 1;

	switch (record->kind) {
#define DO(name)           \
	case OP_##name:    \
		return op_##name(init, op);
		FILE_SYSTEM_OPERATIONS(DO)
#undef DO
	}
	say(init, "no operation of the file system");
	return -EOPNOTSUPP;
}

static void load(struct init *init, int fd)
{
	const char *wrong;
	struct stat st;
	void *data;

	if (fstat(fd, &st) < 0)
		abort();
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (data == MAP_FAILED || plan_decode(&init->plan, data, (size_t)st.st_size, &wrong) < 0)
		abort();
}

static int run(struct init *init)
{
	for (const struct record *record = NULL; (record = plan_next(&init->plan, record)) != NULL;) {
		int r;

		init->record = record;
		init->detail[0] = '\0';
		r = perform(init, record);
		if (r < 0)
			return r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct init init;
	static int slots[256];
	/* The operations may replace stdio. */
	int in = fcntl(0, F_DUPFD_CLOEXEC, 200), out = fcntl(1, F_DUPFD_CLOEXEC, 200);
	char byte;
	int r;

	if (argc < 2)
		return 2;
	for (int i = 0; i < 256; i++)
		slots[i] = i + 2 < argc ? atoi(argv[i + 2]) : -1;
	init.slots = slots;
	init.root = init.fifo = init.socket = -1;
	load(&init, atoi(argv[1]));
	r = run(&init);
	if (r == 0)
		dprintf(out, "ok\n");
	else
		dprintf(out, "%u %d %s\n", init.record->index, r == IN_WORDS ? 0 : -r, init.detail);
	while (read(in, &byte, 1) > 0)
		;
	return 0;
}
