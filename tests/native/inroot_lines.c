/* Looks up paths with inroot.c: `inroot_lines ROOT` reads "<flags> <path>" lines and prints "<device> <inode>" or
 * "-<errno>" for each, in a line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inroot.h"

static void look_up(const struct init *init, const char *path, unsigned flags)
{
	int fd = inroot_open(init, path, flags);
	struct stat st;

	if (fd < 0) {
		printf("%d\n", fd);
	} else if (fstat(fd, &st) == 0) {
		printf("%lu %lu\n", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	static struct init init;
	char line[8192];

	if (argc != 2)
		return 2;
	init.root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		look_up(&init, line + 2, (unsigned)atoi(line));
	}
	return 0;
}
