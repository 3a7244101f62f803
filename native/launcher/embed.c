/* ocirun, the installed command, with the interpreter in it, where there is no snapshot of it (dump.c).
 *
 * Of the six milliseconds that `python3 -I -S` takes to start, three go into what a linked command (native/link.py) has
 * no use for: the path-based importer, the codecs from disk, the standard streams. CPython can be initialized in two
 * phases (PEP 587, "Multi-Phase Initialization"): after the core phase code runs, and only built-in and frozen modules
 * can be imported. Here a linked command runs after the core phase alone; the first import of something that is not
 * linked does the main phase then, and goes on (`finish` of the linker). Everything else starts with both. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdio.h>
#include <string.h>

#include "interpreter.h"

/* The linked file of the command; NULL where there is none. The build made it for the interpreter that is in here: it
 * begins with the bytecode's version for exec.c, which may find another one. */
static const char *open_linked(const struct install *install, const char *verb, size_t *size)
{
	const size_t length = strcspn(install->paths, "\n");
	char path[5 * PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/ocirun/linked/%s", (int)length, install->paths, verb);
	return map_file(path, size);
}

int main(int argc, char **argv)
{
	static char *no_arguments[] = { "ocirun", NULL };
	static struct install install;
	const char *verb, *linked = NULL;
	size_t size = 0;
	const bool blocked = block_interrupt();

	if (argc < 1) {
		argc = 1;
		argv = no_arguments;
	}
	find_install(&install, argv[0]);
	verb = VERBS[find_verb(argc, argv)];
	if (verb != NULL)
		linked = open_linked(&install, verb, &size);
	start_python(&install, argc, argv, linked != NULL);
	if (linked != NULL && !link_modules(directories_of(&install), linked, size, false)) {
		PyErr_Print();
		fail("start", "the installation is broken");
	}
	run_command(blocked);
}
