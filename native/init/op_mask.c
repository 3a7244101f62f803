/* maskedPaths and readonlyPaths. They come after pivot_root and before anything of the container runs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"
#include "op_device.h"
#include "procfs.h"

/* The tmpfs that hides directories: once attached, each further place gets a clone of its mount instead of a file
 * system of its own. Closed after the last `mask` of a row. */
static int empty_directory = -1;

static void forget_empty_directory(const struct init *init)
{
	const struct record *next = plan_next(&init->plan, init->record);

	if (empty_directory >= 0 && (!next || next->kind != OP_mask)) {
		close(empty_directory);
		empty_directory = -1;
	}
}

static int new_empty_directory(void)
{
	int fs = kernel_fsopen("tmpfs", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return fs;
	r = kernel_fsconfig(fs, FSCONFIG_SET_STRING, "source", "tmpfs", 0);
	if (r == 0)
		r = kernel_fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0);
	if (r == 0)
		r = kernel_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (r == 0)
		r = kernel_fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	return closing(fs, r);
}

static int hide_directory(struct init *init, const char *path, int target)
{
	struct bind bind = {.source = empty_directory, .target = target, .again = path};
	int mount, r;

	if (empty_directory >= 0)
		return bind_mount(init, &bind);
	mount = new_empty_directory();
	r = mount < 0 ? mount : attach(mount, target);
	if (r == 0)
		empty_directory = mount;
	else if (mount >= 0)
		close(mount);
	return lacks(r) ? procfs_mount(-1, "tmpfs", target, "tmpfs", MS_RDONLY, NULL) : r;
}

static int hide_file(struct init *init, const char *path, int target)
{
	struct bind bind = {.source = open_null_device(init, O_PATH), .target = target, .again = path};

	if (bind.source == -ELOOP || bind.source == -ENODEV) {
		say(init, "/dev/null of the container is not the null device");
		return IN_WORDS;
	}
	return bind.source < 0 ? bind.source : closing(bind.source, bind_mount(init, &bind));
}

/* By another of its names, perhaps. */
static bool is_hidden(const struct stat *st)
{
	struct stat empty;

	if (S_ISCHR(st->st_mode))
		return st->st_rdev == makedev(1, 3);
	return S_ISDIR(st->st_mode) && empty_directory >= 0 && fstat(empty_directory, &empty) == 0 &&
	       st->st_dev == empty.st_dev && st->st_ino == empty.st_ino;
}

int op_mask(struct init *init, const struct op_mask *op)
{
	const char *path = plan_str(&init->plan, op->target);
	int target = procfs_protected(init, path);
	struct stat st;
	int r;

	if (target == -ENOENT || target == -ENOTDIR)
		r = 0;
	else if (target < 0)
		r = target;
	else if (fstat(target, &st) < 0)
		r = closing(target, -errno);
	else if (is_hidden(&st))
		r = closing(target, 0);
	else
		r = closing(target, S_ISDIR(st.st_mode) ? hide_directory(init, path, target) : hide_file(init, path, target));
	forget_empty_directory(init);
	return r;
}

int op_readonly(struct init *init, const struct op_readonly *op)
{
	const char *path = plan_str(&init->plan, op->target);
	struct bind bind = {.again = path, .recursive = true, .attr_set = MOUNT_ATTR_RDONLY};
	int target = procfs_protected(init, path);

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	bind.source = bind.target = target;
	return closing(target, bind_mount(init, &bind));
}
