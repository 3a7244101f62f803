/* tmpcopyup: a new file system takes over what was at its place. */
#ifndef OCIRUN_COPYUP_H
#define OCIRUN_COPYUP_H

#include "init.h"

/* Copy everything below one directory into another one, with owners, modes, times, extended attributes and several
 * names of one file. Other file systems mounted below are copied too. Both descriptors may be O_PATH, and whoever can
 * write to `from` may do so meanwhile. 0 or -errno, and say() with the name of what could not be copied. */
int copy_up_contents(struct init *init, int from, int to);

#endif
