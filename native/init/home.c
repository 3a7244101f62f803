#define _GNU_SOURCE
#include "home.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kernel.h"

/* name:password:uid:gid:gecos:home:shell, cut in place. The home when the line has that uid ("" when it ends before,
 * as in runc), else NULL. */
static const char *home_in(char *line, uint32_t uid)
{
	const char *fields[6];
	char *end;

	for (int i = 0; i < 6; i++)
		fields[i] = line != NULL ? strsep(&line, ":") : NULL;
	if (fields[2] == NULL || fields[2][0] < '0' || fields[2][0] > '9')
		return NULL;
	if (strtoul(fields[2], &end, 10) != uid || *end != '\0')
		return NULL;
	return fields[5] != NULL ? fields[5] : "";
}

/* Reading of these does more than read, or never ends. */
static bool is_of_the_kernel(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC ||
	       fs.f_type == TRACEFS_MAGIC || fs.f_type == DEBUGFS_MAGIC;
}

static int open_passwd(int flags)
{
	int fd = kernel_openat2(AT_FDCWD, "/etc/passwd", (uint64_t)flags | O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS);

	return fd == -ENOSYS || fd == -EPERM ? open("/etc/passwd", flags | O_CLOEXEC) : fd;
}

/* A regular file, or -1: a fifo or a device in its place may not stop us, and is not even opened. */
static int regular_passwd(void)
{
	const int seen = open_passwd(O_PATH);
	struct stat before, after;
	int fd = -1;

	if (seen >= 0 && fstat(seen, &before) == 0 && S_ISREG(before.st_mode) && !is_of_the_kernel(seen))
		fd = open_passwd(O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && (fstat(fd, &after) < 0 || after.st_dev != before.st_dev || after.st_ino != before.st_ino)) {
		close(fd);
		fd = -1;
	}
	if (seen >= 0)
		close(seen);
	return fd < 0 ? -1 : fd;
}

/* What is longer than this is no passwd: an image could keep us reading for hours (CVE-2026-135844). */
#define PASSWD_MAX (1 << 20)

static void search(FILE *file, uint32_t uid, char *home, size_t size)
{
	char line[4096];
	size_t length = 0;
	int byte = 0;

	for (int done = 0; byte != EOF && done < PASSWD_MAX; done++) {
		const char *found;

		byte = getc(file);
		if (byte != '\n' && byte != EOF) {
			if (length < sizeof(line) - 1) /* the rest of such a line says nothing */
				line[length++] = (char)byte;
			continue;
		}
		line[length] = '\0';
		length = 0;
		found = home_in(line, uid);
		if (found != NULL) {
			snprintf(home, size, "%s", found);
			return;
		}
	}
}

void find_home(uint32_t uid, char *home, size_t size)
{
	const int fd = regular_passwd();
	FILE *file;

	snprintf(home, size, "/");
	if (fd < 0)
		return;
	file = fdopen(fd, "r");
	if (file == NULL) {
		close(fd);
		return;
	}
	search(file, uid, home, size);
	fclose(file);
}
