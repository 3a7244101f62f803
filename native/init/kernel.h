/* System calls newer than the libcs, with one convention: the result, or -errno.
 *
 * An old kernel answers ENOSYS; a seccomp filter that knows nothing of a call answers EPERM (or ENOSYS): `lacks()`
 * tells both. The declarations come from the kernel's own headers: glibc's <sys/mount.h> collides with
 * <linux/mount.h> before 2.37 and musl's lacks the new mount API, so nothing here includes it. */
#ifndef OCIRUN_KERNEL_H
#define OCIRUN_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <linux/sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EACCESS
#define AT_EACCESS 0x200
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* Is the call missing on this kernel, or unknown to a filter around us? */
static inline bool lacks(long result)
{
	return result == -ENOSYS || result == -EPERM;
}

#ifdef OCIRUN_TEST_STEPS
/* The tests' build: calls listed in OCIRUN_INIT_WITHOUT do as if the kernel had never heard of them. */
static inline bool is_withheld(const char *name)
{
	const char *list = getenv("OCIRUN_INIT_WITHOUT");
	const size_t length = strlen(name);

	while (list != NULL && *list != '\0') {
		const size_t word = strcspn(list, ",");
		if (word == length && memcmp(list, name, length) == 0)
			return true;
		list += word + (list[word] == ',');
	}
	return false;
}
#define KERNEL_CALL(name, ...) (is_withheld(#name) ? -ENOSYS : kernel_result(syscall(SYS_##name, __VA_ARGS__)))
#else
#define KERNEL_CALL(name, ...) kernel_result(syscall(SYS_##name, __VA_ARGS__))
#endif

static inline int kernel_result(long result)
{
	return result < 0 ? -errno : (int)result;
}

static inline int kernel_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
	return KERNEL_CALL(close_range, first, last, flags);
}

/* clone3(2) as fork: the pid, 0 in the child. */
static inline int kernel_clone3(struct clone_args *args)
{
	return KERNEL_CALL(clone3, args, sizeof(*args));
}

static inline int kernel_pidfd_open(pid_t pid)
{
	return KERNEL_CALL(pidfd_open, pid, 0);
}

static inline int kernel_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return KERNEL_CALL(openat2, directory, path, &how, sizeof(how));
}

static inline int kernel_faccessat2(int directory, const char *path, int mode, int flags)
{
	return KERNEL_CALL(faccessat2, directory, path, mode, flags);
}

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
static inline int kernel_fchmodat2(int directory, const char *path, mode_t mode, int flags)
{
	return KERNEL_CALL(fchmodat2, directory, path, mode, flags);
}

static inline int kernel_open_tree(int directory, const char *path, unsigned int flags)
{
	return KERNEL_CALL(open_tree, directory, path, flags);
}

/* A clone of what is in a mount that is attached nowhere: EINVAL before Linux 6.15. */
static inline int kernel_clone_detached(int directory, const char *path)
{
#ifdef OCIRUN_TEST_STEPS
	if (is_withheld("clone_detached"))
		return -EINVAL;
#endif
	return kernel_open_tree(directory, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static inline int kernel_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned int flags)
{
	return KERNEL_CALL(move_mount, from, from_path, to, to_path, flags);
}

static inline int kernel_mount_setattr(int directory, const char *path, unsigned int flags, struct mount_attr *attr)
{
	return KERNEL_CALL(mount_setattr, directory, path, flags, attr, sizeof(*attr));
}

static inline int kernel_fsopen(const char *type, unsigned int flags)
{
	return KERNEL_CALL(fsopen, type, flags);
}

static inline int kernel_fsconfig(int context, unsigned int command, const char *key, const void *value, int aux)
{
	return KERNEL_CALL(fsconfig, context, command, key, value, aux);
}

static inline int kernel_fsmount(int context, unsigned int flags, unsigned int attributes)
{
	return KERNEL_CALL(fsmount, context, flags, attributes);
}

static inline int kernel_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	return KERNEL_CALL(mount, source, target, type, flags, data);
}

static inline int kernel_umount2(const char *target, int flags)
{
	return KERNEL_CALL(umount2, target, flags);
}

static inline int kernel_pivot_root(const char *new_root, const char *put_old)
{
	return KERNEL_CALL(pivot_root, new_root, put_old);
}

#endif
