#define _GNU_SOURCE
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"

#define HEAD 256  /* BINPRM_BUF_SIZE: how much of a file the kernel looks at */
#define NESTED 5  /* interpreters that are scripts themselves: exec_binprm() in fs/exec.c */

int check_executable(const char *path)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	r = kernel_faccessat2(AT_FDCWD, path, X_OK, AT_EACCESS);
	if (lacks(r))
		r = st.st_mode & 0111 ? 0 : -EACCES;
	return r;
}

/* 0, or -errno with words about that interpreter. */
static int check_interpreter(const char *kind, const char *path, char wrong[PROGRAM_TEXT_MAX])
{
	const int r = check_executable(path);
	const size_t length = strlen(path);

	if (r == 0)
		return 0;
	if (length > 0 && path[length - 1] == '\r')
		snprintf(wrong, PROGRAM_TEXT_MAX, "%s %.*s followed by a carriage return (the line ends in CRLF)", kind,
			 (int)length - 1, path);
	else
		snprintf(wrong, PROGRAM_TEXT_MAX, "%s %s", kind, path);
	return r;
}

/* The interpreter of a #! line; as load_script() in fs/binfmt_script.c reads it. */
static int read_script(const char *head, size_t size, char *interpreter, char wrong[PROGRAM_TEXT_MAX])
{
	const char *name = head + 2, *end = head + size;
	size_t length = 0;

	while (name < end && (*name == ' ' || *name == '\t'))
		name++;
	while (name + length < end && strchr(" \t\n", name[length]) == NULL) /* finds the NUL too */
		length++;
	if (length == 0) {
		snprintf(wrong, PROGRAM_TEXT_MAX, "its #! line names no interpreter");
		return -ENOEXEC;
	}
	if (name + length == end && size == HEAD) {
		snprintf(wrong, PROGRAM_TEXT_MAX, "its #! line is too long");
		return -ENOEXEC;
	}
	memcpy(interpreter, name, length);
	interpreter[length] = '\0';
	return 0;
}

static bool is_native(uint16_t machine)
{
#if defined(__x86_64__)
	return machine == EM_X86_64 || machine == EM_386;
#elif defined(__aarch64__)
	return machine == EM_AARCH64 || machine == EM_ARM;
#else
	return false;
#endif
}

/* Place and length of the interpreter's name in an ELF file of 64 or 32 bits; *length 0 when it names none.
 * Files for other machines are somebody else's (binfmt_misc), who looks for their interpreter in his own way. */
#define FIND_INTERPRETER(bits)                                                                             \
	static void find_interpreter_##bits(int fd, uint64_t *offset, uint64_t *length)                    \
	{                                                                                                  \
		Elf##bits##_Ehdr header;                                                                   \
		Elf##bits##_Phdr segment;                                                                  \
                                                                                                           \
		if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || !is_native(header.e_machine) || \
		    header.e_phentsize != sizeof(segment) || header.e_phoff > INT_MAX)                     \
			return;                                                                            \
		for (unsigned int i = 0; i < header.e_phnum; i++) {                                        \
			const off_t at = (off_t)(header.e_phoff + i * sizeof(segment));                    \
			if (pread(fd, &segment, sizeof(segment), at) != sizeof(segment))                   \
				return;                                                                    \
			if (segment.p_type == PT_INTERP) {                                                 \
				*offset = segment.p_offset;                                                \
				*length = segment.p_filesz;                                                \
				return;                                                                    \
			}                                                                                  \
		}                                                                                          \
	}
FIND_INTERPRETER(64)
FIND_INTERPRETER(32)

/* The interpreter that an ELF file names; "" for none. */
static void read_elf(int fd, unsigned char class, char interpreter[PATH_MAX])
{
	uint64_t offset = 0, length = 0;

	interpreter[0] = '\0';
	if (class == ELFCLASS64)
		find_interpreter_64(fd, &offset, &length);
	else
		find_interpreter_32(fd, &offset, &length);
	if (length < 2 || length > PATH_MAX || offset > INT64_MAX - PATH_MAX ||
	    pread(fd, interpreter, length, (off_t)offset) != (ssize_t)length || interpreter[length - 1] != '\0')
		interpreter[0] = '\0';
}

/* What the file at `path` needs beside itself: *kind and its name, or "" for nothing. 0, or -errno with words. */
static int read_interpreter(const char *path, const char **kind, char interpreter[PATH_MAX], char wrong[PROGRAM_TEXT_MAX])
{
	char head[HEAD];
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;
	int r = 0;

	interpreter[0] = '\0';
	if (fd < 0)
		return 0; /* executable does not mean readable */
	n = pread(fd, head, sizeof(head), 0);
	if (n >= 2 && memcmp(head, "#!", 2) == 0) {
		*kind = "#! interpreter";
		r = read_script(head, (size_t)n, interpreter, wrong);
	} else if (n >= EI_NIDENT && memcmp(head, ELFMAG, SELFMAG) == 0) {
		*kind = "ELF interpreter";
		read_elf(fd, (unsigned char)head[EI_CLASS], interpreter);
	}
	close(fd);
	return r;
}

int check_program(const char *path, char wrong[PROGRAM_TEXT_MAX])
{
	char names[2][PATH_MAX];
	const char *kind = "";

	for (int depth = 0; depth <= NESTED; depth++) {
		char *interpreter = names[depth % 2];
		int r = read_interpreter(path, &kind, interpreter, wrong);
		if (r == 0 && interpreter[0] == '\0')
			return 0;
		if (r == 0)
			r = check_interpreter(kind, interpreter, wrong);
		if (r < 0)
			return r;
		if (kind[0] == 'E')
			return 0; /* the kernel loads it, whatever that names in turn */
		path = interpreter;
	}
	snprintf(wrong, PROGRAM_TEXT_MAX, "more than %d interpreters one inside the other", NESTED);
	return -ELOOP;
}
