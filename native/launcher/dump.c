/* ocirun, the installed command, started from a snapshot of the interpreter.
 *
 * Two thirds of the time of a command were CPython's initialization and the bodies of our modules, and they are the same
 * at every start. So they happen once, when ocirun is installed: this program initializes the interpreter, executes all
 * our modules (native/link.py), and writes itself into a new executable, with its memory as the content of the writable
 * segment, as emacs did for thirty years ("unexec"). That executable is what is installed. There is no file to map and
 * no address to ask for: the kernel maps the segment when it executes the program, privately and page by page, and an
 * executable that is not position-independent is always at the same addresses. main() finds `restored` set, repairs the
 * few things that belong to a process (repairs.c), and calls ocirun.cli.main().
 *
 * What a snapshot may hold, then, is what is the same in every process, and why this one is sound:
 *
 *  - All memory of Python is in the executable (.data, .bss) or in an array in there (heap.c). The stack is not, and no
 *    frame of Python is active when the dump is made. libc, the dynamic linker and thread-local storage are not: the
 *    restored process has new ones, which know nothing of the old. What the dynamic linker writes into our segment
 *    (relocations of symbols like stdin and environ) it writes again, after the segment is mapped; that is zero in the
 *    dump, and so is what the repairs write.
 *  - Constructors (.init_array) run in the restored process, and so not in the one that dumps.
 *  - No extension module and no other library has been loaded, no file of the host has been read, no descriptor is open,
 *    no thread and no handler of a signal is left. This program refuses to dump where it finds one (checks below).
 *  - Everything else that tells one process from another (an address of libc or of the stack, a pid, a time) would be a
 *    difference between two dumps of two processes. The build makes two, which get nothing in common but the secret of
 *    str.__hash__ and differ in all that a process can differ in, and takes the snapshot only if they are equal, byte by
 *    byte (native/snapshot.py). That is the proof; it needs no knowledge of CPython, and holds for versions that nobody
 *    has looked at. Where it fails the build says so, and installs the launcher without a snapshot (embed.c).
 *  - A restored interpreter can do all that any can: load extension modules, start threads, and go through the main phase
 *    of its initialization, for what the snapshot does not have.
 *
 * What is lost is said in docs/performance.md: hashes of strings have the same secret in all processes of one
 * installation (it is made by the build, and anybody who can read the program can know it), and Python's first objects
 * are at the same addresses.
 *
 *     dump LINKED OUTPUT [PLACED] < 24 BYTES OF THE SECRET        this program, as the build calls it (heap.c: PLACED)
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interpreter.h"
#include "snapshot.h"

#define PAGE 4096u
#define DESCRIPTORS 256

bool restored = false;

extern char data_start[] __attribute__((weak)); /* of .data: what is before it in the segment is the dynamic linker's */
extern char _end[];                             /* of .bss */

static unsigned char secret[24]; /* sizeof(_Py_HashSecret_t) */
static size_t secret_left;

/* Constructors of the program are executed before main() in the restored process, as in any. So they are not in this one:
 * they would find what they left behind. From 3.13 on there is mimalloc's, which libpython has in it and does not use. */
extern void (*__init_array_start[])(int, char **, char **);
extern void (*__init_array_end[])(int, char **, char **);

static void construct_nothing(int argc, char **argv, char **environment)
{
	(void)argc;
	(void)argv;
	(void)environment;
}

static void skip_constructors(int argc, char **argv, char **environment)
{
	const size_t count = (size_t)(__init_array_end - __init_array_start);
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)__init_array_start / page * page;

	(void)argc;
	(void)argv;
	(void)environment;
	if (restored || count == 0)
		return;
	/* Read-only by now; in the dump it is what it is in the file. */
	if (mprotect((void *)begin, (uintptr_t)__init_array_end - begin, PROT_READ | PROT_WRITE) < 0)
		fail("dump: mprotect", strerror(errno));
	for (size_t i = 0; i < count; i++)
		__init_array_start[i] = construct_nothing;
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **, char **) = skip_constructors;

/* Names that ld(1) gives, as in heap.c. */
ssize_t __real_getrandom(void *buffer, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags);

/* The one thing that CPython asks chance for when it is initialized is _Py_HashSecret. */
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags)
{
	if (restored)
		return __real_getrandom(buffer, size, flags);
	if (size > secret_left)
		fail("dump", "more is left to chance than the secret of hashes");
	memcpy(buffer, secret, size);
	secret_left -= size;
	return (ssize_t)size;
}

/* As every process is to find it: what differs here is no part of the snapshot. */
static void prepare_process(void)
{
	secret_left = sizeof(secret);
	for (size_t got = 0; got < sizeof(secret);) {
		const ssize_t length = read(STDIN_FILENO, secret + got, sizeof(secret) - got);
		if (length <= 0)
			fail("dump: read the secret", length < 0 ? strerror(errno) : "too short");
		got += (size_t)length;
	}
	for (int fd = STDERR_FILENO + 1; fd < DESCRIPTORS; fd++)
		close(fd);
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	clearenv();
	if (setenv("TZ", "UTC0", 1) != 0) /* for the module `time`; else libc reads /etc/localtime */
		fail("dump", strerror(errno));
}

static int count_library(struct dl_phdr_info *library, size_t size, void *count)
{
	(void)library;
	(void)size;
	++*(int *)count;
	return 0;
}

static int count_libraries(void)
{
	int count = 0;

	dl_iterate_phdr(count_library, &count);
	return count;
}

static void check_descriptors(void)
{
	for (int fd = STDERR_FILENO + 1; fd < DESCRIPTORS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			fail("dump", "a descriptor is open");
}

static void check_signals(void)
{
	for (int number = 1; number < NSIG; number++) {
		struct sigaction action;
		if (number != SIGINT && number != SIGPIPE && number != SIGXFSZ && sigaction(number, NULL, &action) == 0 &&
		    action.sa_handler != SIG_DFL)
			fail("dump", "a signal has a handler");
	}
}

/* Relocations of the dynamic linker in what is dumped, all with an addend of their own (RELA). */
static void forget_relocations(uintptr_t begin, uintptr_t end)
{
	const ElfW(Rela) *relocations = NULL;
	const ElfW(Sym) *symbols = NULL;
	size_t size = 0;

	for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_RELA)
			relocations = (const ElfW(Rela) *)entry->d_un.d_ptr;
		else if (entry->d_tag == DT_RELASZ)
			size = entry->d_un.d_val;
		else if (entry->d_tag == DT_SYMTAB)
			symbols = (const ElfW(Sym) *)entry->d_un.d_ptr;
	}
	for (size_t i = 0; i < size / sizeof(*relocations); i++) {
		const uintptr_t place = relocations[i].r_offset;
		const size_t type = ELF64_R_TYPE(relocations[i].r_info);
		const bool copied = type == R_X86_64_COPY || type == R_AARCH64_COPY;
		const size_t length = copied ? symbols[ELF64_R_SYM(relocations[i].r_info)].st_size : sizeof(uintptr_t);
		if (place >= begin && place + length <= end)
			memset((void *)place, 0, length);
	}
}

static void write_at(int fd, const char *data, size_t size, size_t offset)
{
	while (size > 0) {
		const ssize_t length = pwrite(fd, data, size, (off_t)offset);
		if (length <= 0)
			fail("dump: write", strerror(errno));
		data += length;
		size -= (size_t)length;
		offset += (size_t)length;
	}
}

/* This process as an executable: the file up to .data, then memory up to the last byte that is not zero. What follows in
 * the file, symbols and the table of sections, is for debuggers, and left out. */
static void write_executable(const char *path)
{
	static const char zero[PAGE];
	const int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat status;

	if (in < 0 || out < 0 || fstat(in, &status) < 0)
		fail(path, strerror(errno));
	/* The header is to change, the mapping is private. */
	char *file = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, in, 0);
	if (file == MAP_FAILED)
		fail("dump: map /proc/self/exe", strerror(errno));
	ElfW(Ehdr) *header = (ElfW(Ehdr) *)file;
	ElfW(Phdr) *segments = (ElfW(Phdr) *)(file + header->e_phoff), *data = NULL;
	for (size_t i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_W) {
			if (data != NULL)
				fail("dump", "there is more than one writable segment");
			data = &segments[i];
		}
	const uintptr_t begin = (uintptr_t)data_start, end = (uintptr_t)_end;
	if (data == NULL || begin < data->p_vaddr || begin > data->p_vaddr + data->p_filesz || end > data->p_vaddr + data->p_memsz)
		fail("dump", "the writable segment is not as expected");

	forget_relocations(begin, end);
	size_t size = end - begin;
	while (size > 0 && data_start[size - 1] == '\0')
		size--;
	const size_t head = data->p_offset + (begin - data->p_vaddr);
	data->p_filesz = begin - data->p_vaddr + size;
	header->e_shoff = 0;
	header->e_shnum = header->e_shstrndx = 0;
	write_at(out, file, head, 0);
	for (size_t at = 0; at < size; at += PAGE) { /* pages of zeros are holes */
		const size_t length = size - at < PAGE ? size - at : PAGE;
		if (memcmp(data_start + at, zero, length) != 0)
			write_at(out, data_start + at, length, head + at);
	}
	if (ftruncate(out, (off_t)(head + size)) < 0 || close(out) < 0)
		fail(path, strerror(errno));
}

static void refuse_main_phase(void)
{
	fail("dump", "a module imports, when it is loaded, what is neither linked nor built in");
}

static void dump(const char *linked, const char *output, const char *placed)
{
	static char *arguments[] = { "ocirun", NULL };
	static const struct install nowhere;
	const int libraries = count_libraries();
	const char *data;
	size_t size = 0;

	prepare_process();
	use_heap(placed);
	start_python(&nowhere, 1, arguments, true);
	before_main_phase = refuse_main_phase;
	data = map_file(linked, &size);
	directories = PyList_New(0);
	if (data == NULL)
		fail(linked, "is no linked file");
	if (!link_modules(directories, data, size, true)) {
		PyErr_Print();
		fail("dump", "the modules cannot be executed");
	}
	PyGC_Collect();
	if (PyDict_GetItemString(PyImport_GetModuleDict(), "ocirun.cli") == NULL)
		fail("dump", "ocirun.cli is not among the modules");
	if (secret_left != 0)
		fail("dump", "the secret of hashes was not asked for");
	if (count_libraries() != libraries)
		fail("dump", "a library has been loaded");
	check_descriptors();
	check_signals();
	/* Where libc, the stack and the heap of libc are: two dumps prove nothing if these were the same for both. */
	dprintf(STDOUT_FILENO, "%p %p %p\n", (void *)stdin, (void *)&size, sbrk(0));
	memset(secret, 0, sizeof(secret));
	leave_heap();
	forget_process();
	restored = true;
	write_executable(output);
	_exit(0);
}

int main(int argc, char **argv)
{
	static char *no_arguments[] = { "ocirun", NULL };
	static struct install install;
	const bool blocked = restored && block_interrupt();

	if (!restored) {
		if (argc < 3)
			fail("usage", "dump LINKED OUTPUT [PLACED] < SECRET");
		dump(argv[1], argv[2], argc > 3 ? argv[3] : NULL);
	}
	if (argc < 1) {
		argc = 1;
		argv = no_arguments;
	}
	prefault(find_verb(argc, argv));
	find_install(&install, argv[0]);
	repair_process(&install, argc, argv);
	run_command(blocked);
}
