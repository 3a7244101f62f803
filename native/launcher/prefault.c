/* Pages that a command writes to, made before it does.
 *
 * The first write to a page of the snapshot is a fault in which the kernel copies it, 1.4 us where it was measured, and
 * every look at an object writes its reference count. madvise(2) with MADV_POPULATE_WRITE (Linux 5.14; an older kernel
 * says EINVAL, and the faults come one by one) copies a range for half of that. Pages that are not written to cost more
 * than they save, so the build runs each command a few times (native/snapshot.py), and writes into the table what all
 * runs have written to. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <sys/mman.h>

#include "snapshot.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define RANGES 32

struct range {
	uint32_t page; /* address / PAGE */
	uint32_t count;
};

#define PAGE 4096u

/* By verb, then those of all other commands; each list ends with a count of 0. In .data, and read as what it is in the
 * file: the compiler must not see that it is zero. */
volatile struct range prefault_ranges[VERB_COUNT + 1][RANGES] = { { { 1, 0 } } };

void prefault(size_t verb)
{
	for (size_t i = 0; i < RANGES; i++) {
		const uintptr_t page = prefault_ranges[verb][i].page, count = prefault_ranges[verb][i].count;
		if (count == 0)
			return;
		(void)madvise((void *)(page * PAGE), count * PAGE, MADV_POPULATE_WRITE);
	}
}
