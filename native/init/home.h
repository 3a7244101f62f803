/* HOME of a user by the container's /etc/passwd. */
#ifndef OCIRUN_HOME_H
#define OCIRUN_HOME_H

#include <stddef.h>
#include <stdint.h>

/* The home of the first line with that uid, "/" without one (as runc). The file is the container's, and hostile: no more
 * than its first MiB is read. */
void find_home(uint32_t uid, char *home, size_t size);

#endif
