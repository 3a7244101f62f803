/* The init of every container: the state that its operations share.
 *
 * An operation OP(name, ...) of ops.def is a function `int op_name(struct init *, const struct op_name *)` in some
 * op_*.c. It returns 0, or a negative errno after which the whole init gives up; say() adds words that the kernel's
 * reason lacks, and IN_WORDS stands for a failure that is none of the kernel's. Operations own nothing but
 * descriptors in the table, and close what else they open: every descriptor is born close-on-exec, because after
 * the seccomp filter is in place nothing more than read, write, close and execve may be counted on. */
#ifndef OCIRUN_INIT_H
#define OCIRUN_INIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"

/* Beyond every errno: what say() said is the whole reason. */
#define IN_WORDS (-4095)

struct capabilities {
	uint64_t effective, permitted, inheritable; /* bit N is capability N */
};

struct init {
	struct plan plan;
	const struct record *record; /* the one that is being performed; NULL before the first */
	int base;            /* descriptors from here on are the init's own; 3 .. base-1 are the container's */
	int socket;          /* to the runtime, -1 once closed */
	int root;            /* O_PATH descriptor of the container's root, -1 before mount_root or use_root */
	int *slots;          /* plan.header->slot_count descriptors, -1: empty */
	bool *put_off;       /* per slot: setns attempt 1 met EPERM */
	bool user_namespace; /* in one that is not the runtime's */
	bool unprivileged;   /* the runtime is an ordinary user's */
	bool alone;          /* an ordinary user's, in a user namespace that it has made: see show() */
	bool in_cwd;         /* chdir has been there */
	int listener;        /* of our seccomp filter, until the runtime has it; else -1 */
	struct capabilities capabilities; /* as set_capabilities has set them */
	uint64_t for_filter; /* CAP_SYS_ADMIN, permitted beside them until the filter is loaded; or 0 */
	uint64_t *times;     /* of --debug: when each operation was done, by its index; or NULL */
	size_t times_count;
	int fifo;            /* the exec fifo once `start` has come, for the reason of a late failure; else -1 */
	const char **pointers; /* room for the longest argv and envp of the plan, one after the other */
	char executable[4096]; /* what find_executable found */
	char home[4096];     /* "HOME=" and what the container's passwd has, once set_user has looked; "" before */
	char detail[MESSAGE_TEXT_MAX]; /* say() */
};

/* Let an ordinary user look at us as at the user's other processes (or, with false, no more). Its runtime finds PID 1 in
 * a /proc with hidepid, and `exec` and those who connect networks join namespaces of a container that waits for
 * `start`. Who is not dumpable can only be looked at with CAP_SYS_PTRACE in the runtime's own user namespace. This is
 * only done in a user namespace of our own making, where nobody else is: everybody there has come after us, or with
 * the same rights as the container's process. */
void show(struct init *init, bool on);

/* Words for the failure that the operation is about to return ("" says only the errno). */
void say(struct init *init, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The descriptor in a slot; -EBADF with words when it is empty. */
int slot_fd(struct init *init, uint32_t slot);

/* Put a descriptor into an empty slot. 0, or a negative error with the descriptor closed. */
int slot_fill(struct init *init, uint32_t slot, int fd);

/* Does a later record join or map by the namespace in a slot? */
bool slot_needed(const struct init *init, uint32_t slot);

/* Close what is in a slot, if anything. */
void slot_close(struct init *init, uint32_t slot);

/* wire.c: send a message and wait for the runtime's ACK. Its arg, or -errno when the runtime has gone. */
int tell_and_wait(struct init *init, enum message_type type, int32_t arg);

/* Wait for an ACK that answers nobody's message but the outer stage's. As above. */
int wait_for_ack(struct init *init);

/* Send a message. 0 or -errno. */
int tell(struct init *init, enum message_type type, int32_t arg);

/* Report that the present record failed with this result of its operation: to the runtime, or into the exec fifo. */
void tell_failure(struct init *init, int result);

/* op_root.c: something has been attached at a path: if that is "/", it is the root from now on. 0 or -errno. */
int root_covered(struct init *init, const char *path, int mount);

/* op_exec.c: whether the program's environment, of an operation that is still to come, has no HOME or an empty one. */
bool lacks_home(const struct init *init);

/* op_exec.c: look HOME up in the container's passwd. */
void note_home(struct init *init, uint32_t uid);

/* op_exec.c: HOME from the passwd, in place of an empty one or behind the others, where there is room for it. */
void complete_home(struct init *init, const char **envp, uint32_t uid);

/* op_exec.c: the strings of a list as an array in init->pointers from `at` on, closed by a NULL. Where the
 * next may begin. */
size_t point_at(struct init *init, size_t at, field_strv list);

#define F(type, name)
#define OP(name, ...) int op_##name(struct init *init, const struct op_##name *op);
#include "../ops.def"
#undef OP
#undef F

#endif
