/* What can be seen of a program before the kernel is asked to execute it. */
#ifndef OCIRUN_PROGRAM_H
#define OCIRUN_PROGRAM_H

#define PROGRAM_TEXT_MAX 1024

/* Is the file there, no directory, and executable for us? 0, or -errno of what stands against it. */
int check_executable(const char *path);

/* Would its interpreters be found: the one of a #! line (and that one's own), the one that an ELF file names? The
 * kernel says "no such file or directory" of the program itself then. 0, or -errno with the words in `wrong`. What
 * cannot be read here is left to the exec. */
int check_program(const char *path, char wrong[PROGRAM_TEXT_MAX]);

#endif
