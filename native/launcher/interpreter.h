/* CPython inside of a program: its initialization in two phases, and the modules of a linked file in it.
 *
 * The interpreter is isolated (no PYTHON* variables, no current directory in sys.path), in UTF-8 mode, without `site`.
 * Its standard library is where the build found it, which is the only thing outside of the installation's prefix. */
#ifndef OCIRUN_INTERPRETER_H
#define OCIRUN_INTERPRETER_H

#include <stdbool.h>
#include <stddef.h>

#include "install.h"

#if !defined(PYTHON_STDLIB) || !defined(PYTHON_DYNLOAD)
#error "PYTHON_STDLIB and PYTHON_DYNLOAD are the directories of the standard library and of its extension modules"
#endif

/* Initialize CPython. With core_only only built-in, frozen and linked modules can be imported until finish_python(), and
 * the codecs and signals that they need are there. Prints what is wrong and exits where that fails. */
void start_python(const struct install *install, int argc, char **argv, bool core_only);

/* A file of the build, mapped; NULL where there is none, and for what is too short to be one. */
const void *map_file(const char *path, size_t *size);

/* Execute the modules of a linked file. False with a Python exception.
 *
 * directories: of sys.path behind the standard library's; the linker looks into the list at each import
 * keep: the file does not stay mapped */
bool link_modules(PyObject *directories, const char *data, size_t size, bool keep);

/* The lines of install->paths as a list. NULL with a Python exception. */
PyObject *directories_of(const struct install *install);

/* Set sys.argv, which the main phase would set. Exits where there is no memory. */
void set_arguments(int argc, char **argv);

/* Call ocirun.cli.main(), which does not return; prints why it cannot and exits. blocked: see block_interrupt() */
void run_command(bool blocked) __attribute__((noreturn));

/* Called before the main phase begins, if not NULL: a restored interpreter (repairs.c) has to be told where it is. */
extern void (*before_main_phase)(void);

/* Where modules are found, and of what prefix: in the configuration, for the main phase. */
void set_places(PyConfig *config, const struct install *install);

#endif
