/* tmpcopyup: a new file system takes over what was at its place. */
#ifndef OCIRUN_COPYUP_H
#define OCIRUN_COPYUP_H

/* Copy the directories, regular files and symlinks below one directory into another one, with owners, modes, times
 * and extended attributes; devices, sockets and FIFOs are left out, as runc does. Other file systems mounted below
 * are copied too. Both descriptors may be O_PATH. 0 or -errno. */
int copy_up_contents(int from, int to);

#endif
