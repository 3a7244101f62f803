#define _GNU_SOURCE
#include "home.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void search(FILE *file, uint32_t uid, char *home, size_t size)
{
	char line[4096];
	bool whole = true;

	while (fgets(line, sizeof(line), file) != NULL) {
		const bool begins = whole;
		const char *found;

		whole = strchr(line, '\n') != NULL;
		line[strcspn(line, "\n")] = '\0';
		found = begins ? home_in(line, uid) : NULL;
		if (found != NULL) {
			snprintf(home, size, "%s", found);
			return;
		}
	}
}

void find_home(uint32_t uid, char *home, size_t size)
{
	/* A fifo or a device in its place may not stop us. */
	const int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *file;

	snprintf(home, size, "/");
	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (file = fdopen(fd, "r")) == NULL) {
		close(fd);
		return;
	}
	search(file, uid, home, size);
	fclose(file);
}
