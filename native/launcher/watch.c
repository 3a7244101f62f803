/* A library that the build preloads into a restored ocirun, to see what of the snapshot a command writes to: at _exit()
 * the addresses of all pages that are no longer the file's go to the file that OCIRUN_WATCH names (proc_pid_pagemap(5)). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096u
#define PRESENT (UINT64_C(1) << 63)
#define OF_A_FILE (UINT64_C(1) << 61)

static ElfW(Phdr) segment;

static int find_segment(struct dl_phdr_info *program, size_t size, void *data)
{
	(void)size;
	(void)data;
	for (size_t i = 0; i < program->dlpi_phnum; i++)
		if (program->dlpi_phdr[i].p_type == PT_LOAD && program->dlpi_phdr[i].p_flags & PF_W)
			segment = program->dlpi_phdr[i];
	return 1; /* the first one is the program */
}

static void report(FILE *output)
{
	const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	dl_iterate_phdr(find_segment, NULL);
	for (uintptr_t page = segment.p_vaddr / PAGE * PAGE; page < segment.p_vaddr + segment.p_memsz; page += PAGE) {
		uint64_t entry = 0;
		if (pread(pagemap, &entry, sizeof(entry), (off_t)(page / PAGE * sizeof(entry))) != (ssize_t)sizeof(entry))
			return;
		if (entry & PRESENT && !(entry & OF_A_FILE))
			fprintf(output, "%zx\n", (size_t)page);
	}
}

void _exit(int code)
{
	const char *path = getenv("OCIRUN_WATCH");
	FILE *output = path == NULL ? NULL : fopen(path, "we");

	if (output != NULL) {
		report(output);
		fclose(output);
	}
	syscall(SYS_exit_group, code);
	__builtin_unreachable();
}
