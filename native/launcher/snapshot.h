/* The launcher with a snapshot of the interpreter: what its parts know of each other. Begin with dump.c. */
#ifndef OCIRUN_SNAPSHOT_H
#define OCIRUN_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

#include "install.h"

/* In the process that dumps, false; in all that start from its dump, true. */
extern bool restored;

/* heap.c: from here on all memory of Python is in the heap of the executable, up to the dump. placed: a file that says
 * where blocks are to be (native/snapshot.py), or NULL */
void use_heap(const char *placed);
void leave_heap(void);

/* repairs.c, in the dumping process: take out of memory what is true of it alone. Python is not to be used after. */
void forget_process(void);

/* repairs.c, in a restored one: put in what is true of this one. Exits where that fails. */
void repair_process(const struct install *install, int argc, char **argv);

/* repairs.c: what the linked modules take as the directories of sys.path; it is empty in the dump. */
extern PyObject *directories;

/* prefault.c: have the kernel make the pages now that the command is going to write to. verb: see find_verb() */
void prefault(size_t verb);

#endif
