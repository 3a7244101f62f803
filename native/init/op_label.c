/* Labels of AppArmor and SELinux: of the process, from its exec on, of its keys, and of files (LSM, attr/ in
 * proc_pid_attr(5)). Written through a procfs that nobody can have mounted over: a runtime that was led to another file
 * would start an unconfined container and not notice (CVE-2019-16884, CVE-2025-52881). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

int op_label(struct init *init, const struct op_label *op)
{
	const char *file = plan_str(&init->plan, op->file), *other = plan_str(&init->plan, op->other);
	const char *value = plan_str(&init->plan, op->value);
	int fd = procfs_self(file, O_WRONLY);

	/* attr/apparmor/ has been there since Linux 5.8; before, one module owned attr/ itself. */
	if (fd == -ENOENT && *other)
		fd = procfs_self(other, O_WRONLY);
	if (fd == -ENOENT) {
		say(init, "this kernel does not have the security module");
		return IN_WORDS;
	}
	if (fd < 0)
		return fd;
	return closing(fd, write(fd, value, strlen(value)) < 0 ? -errno : 0);
}

int op_file_label(struct init *init, const struct op_file_label *op)
{
	const char *label = plan_str(&init->plan, op->label);
	int place = inroot_open(init, plan_str(&init->plan, op->target), 0);
	int fd;

	if (place < 0)
		return place;
	fd = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* fsetxattr(2) takes no O_PATH descriptor */
	fd = closing(place, fd < 0 ? -errno : fd);
	if (fd < 0)
		return fd;
	return closing(fd, fsetxattr(fd, "security.selinux", label, strlen(label) + 1, 0) < 0 ? -errno : 0);
}
