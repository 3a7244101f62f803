#define _GNU_SOURCE
#include "op_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "copyup.h"
#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

#define PROC_ROOT_INO 1      /* the kernel's include/linux/proc_fs.h */
#define FSCONFIG_STRING_MAX 256 /* fs/fsopen.c copies no more of a value */
#define MOUNT_DATA_MAX 4096  /* mount(2) copies one page */
#define PROPAGATION (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

/* mount(2) has one word for what are attributes of a mount and flags of a superblock (then options of fsconfig(2))
 * in the newer calls; "ro" is both. */
static const struct {
	unsigned long flag;
	uint32_t attribute;
	const char *option;
} MOUNT_FLAGS[] = {
	{MS_RDONLY, MOUNT_ATTR_RDONLY, "ro"},
	{MS_NOSUID, MOUNT_ATTR_NOSUID, NULL},
	{MS_NODEV, MOUNT_ATTR_NODEV, NULL},
	{MS_NOEXEC, MOUNT_ATTR_NOEXEC, NULL},
	{MS_NOATIME, MOUNT_ATTR_NOATIME, NULL},
	{MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, NULL},
	{MS_RELATIME, MOUNT_ATTR_RELATIME, NULL},
	{MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, NULL},
	{MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, NULL},
	{MS_SYNCHRONOUS, 0, "sync"},
	{MS_DIRSYNC, 0, "dirsync"},
	{MS_MANDLOCK, 0, "mand"},
	{MS_LAZYTIME, 0, "lazytime"},
	{MS_SILENT, 0, NULL},
};
#define MOUNT_FLAGS_COUNT (sizeof(MOUNT_FLAGS) / sizeof(*MOUNT_FLAGS))

/* f_flags of statfs(2) (include/linux/statfs.h of the kernel) as attributes. */
static const struct {
	unsigned long flag;
	uint32_t attribute;
} STATFS_FLAGS[] = {
	{0x0001, MOUNT_ATTR_RDONLY},	 {0x0002, MOUNT_ATTR_NOSUID},	  {0x0004, MOUNT_ATTR_NODEV},
	{0x0008, MOUNT_ATTR_NOEXEC},	 {0x0400, MOUNT_ATTR_NOATIME},	  {0x0800, MOUNT_ATTR_NODIRATIME},
	{0x2000, MOUNT_ATTR_NOSYMFOLLOW},
};
#define STATFS_FLAGS_COUNT (sizeof(STATFS_FLAGS) / sizeof(*STATFS_FLAGS))

int closing(int fd, int result)
{
	if (fd >= 0)
		close(fd);
	return result;
}

static uint32_t attributes_of(unsigned long flags)
{
	uint32_t attributes = 0;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		if (flags & MOUNT_FLAGS[i].flag)
			attributes |= MOUNT_FLAGS[i].attribute;
	return attributes;
}

static unsigned long flags_of(uint32_t attributes)
{
	unsigned long flags = 0;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		if (attributes & MOUNT_FLAGS[i].attribute)
			flags |= MOUNT_FLAGS[i].flag;
	return flags;
}

static int present_attributes(int mount, uint32_t *attributes)
{
	struct statfs fs;

	if (fstatfs(mount, &fs) < 0)
		return -errno;
	*attributes = 0;
	for (size_t i = 0; i < STATFS_FLAGS_COUNT; i++)
		if ((unsigned long)fs.f_flags & STATFS_FLAGS[i].flag)
			*attributes |= STATFS_FLAGS[i].attribute;
	return 0;
}

/* mount(2) MS_REMOUNT|MS_BIND replaces all attributes, except that no word on atime leaves it as it is. */
static int remount(int mount, uint32_t set, uint32_t clear)
{
	uint32_t present = 0;
	int r = present_attributes(mount, &present);

	if (r < 0)
		return r;
	return procfs_mount(-1, NULL, mount, NULL, MS_REMOUNT | MS_BIND | flags_of((present & ~clear) | set), NULL);
}

static int change_attributes(int mount, bool recursive, uint32_t set, uint32_t clear)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};

	if (!set && !clear)
		return 0;
	/* The kernel wants the whole atime field cleared when a part of it is set. */
	if ((set | clear) & MOUNT_ATTR__ATIME)
		attr.attr_clr |= MOUNT_ATTR__ATIME;
	return kernel_mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr);
}

int set_attributes(struct init *init, int mount, bool recursive, uint32_t set, uint32_t clear)
{
	int r = change_attributes(mount, recursive, set, clear);

	if (!lacks(r))
		return r;
	if (!recursive)
		return remount(mount, set, clear);
	if (r == -ENOSYS)
		say(init, "recursive mount attributes need mount_setattr(2) (Linux 5.12)");
	return r;
}

/* Change the propagation of an attached mount. MS_REC: and of all below. Several types apply one after the other,
 * as in "slave,shared": a slave that has peers of its own. */
static int set_propagation(int mount, uint32_t flags)
{
	static const unsigned int ORDER[] = {MS_PRIVATE, MS_UNBINDABLE, MS_SLAVE, MS_SHARED};
	int r = 0;

	for (size_t i = 0; i < sizeof(ORDER) / sizeof(*ORDER) && r == 0; i++) {
		struct mount_attr attr = {.propagation = ORDER[i]};

		if (!(flags & ORDER[i]))
			continue;
		r = kernel_mount_setattr(mount, "", AT_EMPTY_PATH | (flags & MS_REC ? AT_RECURSIVE : 0), &attr);
		if (lacks(r))
			r = procfs_mount(-1, NULL, mount, NULL, ORDER[i] | (flags & MS_REC), NULL);
	}
	return r;
}

int attach(int tree, int target)
{
	return kernel_move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int set_bind_attributes(struct init *init, int mount, const struct bind *bind)
{
	int r = set_attributes(init, mount, true, bind->rec_set, bind->rec_clear);

	return r < 0 ? r : set_attributes(init, mount, false, bind->attr_set, bind->attr_clear);
}

/* Attach a tree of our own with its attributes, which it has before anybody can see it where mount_setattr(2) is
 * there; mount(2) changes attached mounts only. -ENOSYS, -EPERM: move_mount(2) is missing. */
static int attach_bind(struct init *init, int tree, const struct bind *bind)
{
	int r = change_attributes(tree, true, bind->rec_set, bind->rec_clear);
	bool late;

	if (r == 0)
		r = change_attributes(tree, false, bind->attr_set, bind->attr_clear);
	late = lacks(r);
	if (r == 0 || late)
		r = attach(tree, bind->target);
	if (r == 0 && late)
		r = set_bind_attributes(init, tree, bind);
	return r;
}

/* By mount(2): the mount is there before its attributes are, and only a second lookup reaches it. */
static int bind_by_path(struct init *init, const struct bind *bind)
{
	struct stat source, found;
	int mount, r;

	r = procfs_mount(bind->source, NULL, bind->target, NULL, MS_BIND | (bind->recursive ? MS_REC : 0), NULL);
	if (r < 0)
		return r;
	mount = inroot_open(init, bind->again, 0);
	if (mount < 0)
		return mount;
	if (fstat(bind->source, &source) < 0 || fstat(mount, &found) < 0)
		r = -errno;
	else if (source.st_dev != found.st_dev || source.st_ino != found.st_ino)
		r = -EXDEV;
	if (r == 0)
		r = set_bind_attributes(init, mount, bind);
	if (r == 0)
		r = set_propagation(mount, bind->propagation);
	return closing(mount, r);
}

int bind_mount(struct init *init, const struct bind *bind)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
	int tree = kernel_open_tree(bind->source, "", flags | (bind->recursive ? AT_RECURSIVE : 0));
	int r;

	if (lacks(tree))
		return bind_by_path(init, bind);
	if (tree < 0)
		return tree;
	r = attach_bind(init, tree, bind);
	if (r == 0)
		r = set_propagation(tree, bind->propagation);
	close(tree);
	return lacks(r) ? bind_by_path(init, bind) : r;
}

static bool is_procfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Nothing but a procfs may hide a procfs, whatever symlink the target went through (CVE-2019-16884): what writes to
 * /proc/self/attr later would write to a file of the image. `source`: what is mounted, -1 for a new file system. */
static int check_procfs_target(struct init *init, int target, const char *path, const char *fstype, int source)
{
	struct stat st;

	if (!is_procfs(target))
		return 0;
	if (fstat(target, &st) < 0)
		return -errno;
	if (st.st_ino != PROC_ROOT_INO) {
		if (strncmp(path, "/proc/", 6) == 0) /* the plan has only those that runc allows */
			return 0;
		say(init, "\"%s\" cannot be mounted because it is inside /proc", path);
		return IN_WORDS;
	}
	if (source >= 0 ? is_procfs(source) : strcmp(fstype, "proc") == 0)
		return 0;
	say(init, "\"%s\" cannot be mounted because it is not of type proc", path);
	return IN_WORDS;
}

static unsigned target_lookup(uint32_t target_flags)
{
	return (target_flags & TARGET_ORDINARY ? INROOT_NO_SYMLINKS : 0) | (target_flags & TARGET_NO_FOLLOW ? INROOT_NO_FOLLOW : 0);
}

int op_open_tree(struct init *init, const struct op_open_tree *op)
{
	const char *path = plan_str(&init->plan, op->path);
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (op->recursive ? AT_RECURSIVE : 0);
	int from = AT_FDCWD;
	int tree, r;

	if (op->from_slot != NO_SLOT) {
		from = slot_fd(init, op->from_slot);
		if (from < 0)
			return -EBADF;
		path = "";
		flags |= AT_EMPTY_PATH;
	}
	tree = kernel_open_tree(from, path, flags);
	if (lacks(tree) && op->from_slot == NO_SLOT) {
		/* `bind` finds a descriptor that is no detached tree, and goes by the path again. */
		tree = open(path, O_PATH | O_CLOEXEC);
		return tree < 0 ? -errno : slot_fill(init, op->slot, tree);
	}
	if (tree < 0)
		return tree;
	/* On a tree that is attached nowhere; mount(2) may not touch those (EINVAL), `bind` does it then. */
	r = set_propagation(tree, MS_SLAVE | MS_REC);
	if (r < 0 && r != -EINVAL)
		return closing(tree, r);
	return slot_fill(init, op->slot, tree);
}

/* The kernel's own words on why fsconfig(2) failed, which a file system leaves in its context: "e tmpfs: Bad value
 * for 'size'". */
static void say_log(struct init *init, int fs)
{
	char line[256];
	ssize_t n;

	while ((n = read(fs, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "e ", 2) == 0)
			say(init, "%s", line + 2);
	}
}

struct request {
	const char *fstype, *source;
	char first[16]; /* an option before those of the configuration, "" for none */
	field_strv options;
	unsigned long flags;
};

static const char *option(const struct init *init, const struct request *request, uint32_t i)
{
	return plan_strv(&init->plan, request->options, i);
}

static int configure(int fs, const char *text)
{
	const char *equals = strchr(text, '=');
	char key[128];

	if (!*text)
		return 0;
	if (!equals)
		return kernel_fsconfig(fs, FSCONFIG_SET_FLAG, text, NULL, 0);
	if ((size_t)(equals - text) >= sizeof(key))
		return -EINVAL;
	memcpy(key, text, (size_t)(equals - text));
	key[equals - text] = '\0';
	return kernel_fsconfig(fs, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

static int configure_all(const struct init *init, int fs, const struct request *request)
{
	int r = *request->source ? kernel_fsconfig(fs, FSCONFIG_SET_STRING, "source", request->source, 0) : 0;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT && r >= 0; i++)
		if (request->flags & MOUNT_FLAGS[i].flag && MOUNT_FLAGS[i].option)
			r = kernel_fsconfig(fs, FSCONFIG_SET_FLAG, MOUNT_FLAGS[i].option, NULL, 0);
	if (r >= 0)
		r = configure(fs, request->first);
	for (uint32_t i = 0; i < request->options.count && r >= 0; i++)
		r = configure(fs, option(init, request, i));
	return r < 0 ? r : kernel_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* Can fsopen(2) and its like say all of it? */
static bool fits_fsconfig(const struct init *init, const struct request *request)
{
	unsigned long rest = request->flags;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		rest &= ~MOUNT_FLAGS[i].flag;
	for (uint32_t i = 0; i < request->options.count; i++)
		if (strlen(option(init, request, i)) >= FSCONFIG_STRING_MAX)
			return false;
	return rest == 0 && strlen(request->source) < FSCONFIG_STRING_MAX;
}

/* A new instance, attached nowhere: its descriptor, or -errno. -ENOSYS or -EPERM: mount(2) may do better. */
static int new_mount(struct init *init, const struct request *request)
{
	int fs, mount, r;

	if (!fits_fsconfig(init, request))
		return -ENOSYS;
	fs = kernel_fsopen(request->fstype, FSOPEN_CLOEXEC);
	if (fs < 0)
		return fs;
	r = configure_all(init, fs, request);
	if (r < 0) {
		say_log(init, fs);
		return closing(fs, r);
	}
	mount = kernel_fsmount(fs, FSMOUNT_CLOEXEC, attributes_of(request->flags));
	/* An attribute that only mount(2) knows on this kernel (nosymfollow before 5.14). */
	if (mount == -EINVAL)
		mount = -ENOSYS;
	return closing(fs, mount);
}

static int mount_data(const struct init *init, const struct request *request, char data[MOUNT_DATA_MAX])
{
	size_t length = strlen(request->first);

	memcpy(data, request->first, length + 1);
	for (uint32_t i = 0; i < request->options.count; i++) {
		const char *text = option(init, request, i);
		size_t n = strlen(text);

		if (length + n + 2 > MOUNT_DATA_MAX)
			return -E2BIG;
		if (length > 0)
			data[length++] = ',';
		memcpy(data + length, text, n + 1);
		length += n;
	}
	return 0;
}

/* By mount(2). The descriptor of the new mount, found at the target again. */
static int old_mount(struct init *init, const struct request *request, int target, const char *path, unsigned lookup)
{
	char data[MOUNT_DATA_MAX];
	struct stat before, after;
	int mount, r;

	r = mount_data(init, request, data);
	if (r == 0)
		r = procfs_mount(-1, *request->source ? request->source : NULL, target, request->fstype, request->flags, data);
	if (r < 0)
		return r;
	mount = inroot_open(init, path, lookup);
	if (mount < 0)
		return mount;
	if (fstat(target, &before) < 0 || fstat(mount, &after) < 0)
		return closing(mount, -errno);
	/* Still the directory below: somebody exchanged the path meanwhile. */
	return before.st_dev == after.st_dev && before.st_ino == after.st_ino ? closing(mount, -EXDEV) : mount;
}

static int mount_target(struct init *init, const struct op_mount *op, bool *ret_made)
{
	const char *path = plan_str(&init->plan, op->target);
	int target = inroot_directory(init, path, 0755, target_lookup(op->target_flags), ret_made);

	if (op->target_flags & TARGET_ORDINARY && (target == -ELOOP || target == -ENOTDIR))
		say(init, "filesystem \"%s\" must be mounted on ordinary directory", plan_str(&init->plan, op->fstype));
	return target;
}

/* By the newer calls: made, filled, and only then attached. */
static int mount_new(struct init *init, const struct op_mount *op, const struct request *request, int target)
{
	int mount = new_mount(init, request);
	int r = 0;

	if (mount < 0)
		return mount;
	if (op->target_flags & TARGET_COPY_UP)
		r = copy_up_contents(target, mount);
	if (r == 0)
		r = attach(mount, target);
	return r < 0 ? closing(mount, r) : mount;
}

static int mount_old(struct init *init, const struct op_mount *op, const struct request *request, int target)
{
	const char *path = plan_str(&init->plan, op->target);
	int mount, r = 0;

	init->detail[0] = '\0';
	mount = old_mount(init, request, target, path, target_lookup(op->target_flags));
	if (mount >= 0 && op->target_flags & TARGET_COPY_UP)
		r = copy_up_contents(target, mount);
	return r < 0 ? closing(mount, r) : mount;
}

static int mount_at(struct init *init, const struct op_mount *op, struct request *request, int target)
{
	bool late_read_only = op->target_flags & TARGET_COPY_UP && request->flags & MS_RDONLY;
	int mount, r = 0;

	if (late_read_only)
		request->flags &= ~(unsigned long)MS_RDONLY;
	mount = mount_new(init, op, request, target);
	if (lacks(mount))
		mount = mount_old(init, op, request, target);
	if (mount < 0)
		return mount;
	if (late_read_only)
		r = set_attributes(init, mount, false, MOUNT_ATTR_RDONLY, 0);
	if (r == 0)
		r = set_propagation(mount, op->propagation);
	return closing(mount, r);
}

/* As runc: a tmpfs takes the mode of the directory that it covers, unless the configuration has one. */
static int inherit_mode(struct request *request, int target)
{
	struct stat st;

	if (fstat(target, &st) < 0)
		return -errno;
	snprintf(request->first, sizeof(request->first), "mode=%04o", st.st_mode & 07777u);
	return 0;
}

int op_mount(struct init *init, const struct op_mount *op)
{
	struct request request = {
		.fstype = plan_str(&init->plan, op->fstype),
		.source = plan_str(&init->plan, op->source),
		.options = op->options,
		.flags = op->ms_flags & ~(unsigned long)(PROPAGATION | MS_REC),
	};
	bool made = false;
	int target = mount_target(init, op, &made);
	int r = 0;

	if (target < 0)
		return target;
	if (!made && strcmp(request.fstype, "tmpfs") == 0)
		r = inherit_mode(&request, target);
	if (r == 0)
		r = check_procfs_target(init, target, plan_str(&init->plan, op->target), request.fstype, -1);
	if (r == 0)
		r = mount_at(init, op, &request, target);
	return closing(target, r);
}

static int bind_target(struct init *init, const char *path, int source, uint32_t target_flags)
{
	unsigned lookup = target_lookup(target_flags);
	struct stat st;

	if (fstat(source, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? inroot_directory(init, path, 0755, lookup, NULL) : inroot_file(init, path, 0755, lookup);
}

static bool has_mount_setattr(void)
{
	struct mount_attr nothing = {0};

	return !lacks(kernel_mount_setattr(AT_FDCWD, ".", 0, &nothing));
}

/* Attach the tree that the slot holds. */
static int bind_detached(struct init *init, int tree, const struct bind *bind)
{
	int r = attach_bind(init, tree, bind);

	if (r == 0 && !has_mount_setattr()) /* what open_tree could not do then */
		r = set_propagation(tree, MS_SLAVE | MS_REC);
	return r < 0 ? r : set_propagation(tree, bind->propagation);
}

static bool has_detached_trees(void)
{
	int fd = kernel_open_tree(AT_FDCWD, ".", OPEN_TREE_CLOEXEC);

	return closing(fd, !lacks(fd));
}

/* Bind from an O_PATH descriptor of the source, or from a detached tree. */
static int bind_from(struct init *init, const struct op_bind *op, int source, bool detached)
{
	struct bind bind = {
		.source = source,
		.again = plan_str(&init->plan, op->target),
		.recursive = op->recursive,
		.attr_set = op->attr_set,
		.attr_clear = op->attr_clear,
		.rec_set = op->rec_set,
		.rec_clear = op->rec_clear,
		.propagation = op->propagation,
	};
	int r;

	bind.target = bind_target(init, bind.again, source, op->target_flags);
	if (bind.target < 0)
		return bind.target;
	r = check_procfs_target(init, bind.target, bind.again, "", source);
	if (r == 0)
		r = detached ? bind_detached(init, source, &bind) : bind_mount(init, &bind);
	return closing(bind.target, r);
}

static int bind_path(struct init *init, const struct op_bind *op)
{
	int source = open(plan_str(&init->plan, op->source), O_PATH | O_CLOEXEC);

	return source < 0 ? -errno : closing(source, bind_from(init, op, source, false));
}

int op_bind(struct init *init, const struct op_bind *op)
{
	int tree, r = -ENOSYS;

	if (op->slot == NO_SLOT)
		return bind_path(init, op);
	tree = slot_fd(init, op->slot);
	if (tree < 0)
		return -EBADF;
	if (has_detached_trees())
		r = bind_from(init, op, tree, true);
	slot_close(init, op->slot);
	return lacks(r) ? bind_path(init, op) : r;
}

int op_setattr(struct init *init, const struct op_setattr *op)
{
	int mount = inroot_open(init, plan_str(&init->plan, op->target), 0);
	int r;

	if (mount < 0)
		return mount;
	r = set_attributes(init, mount, op->recursive, op->attr_set, op->attr_clear);
	if (r == 0)
		r = set_propagation(mount, op->propagation);
	return closing(mount, r);
}

int op_propagation(struct init *init, const struct op_propagation *op)
{
	(void)init;
	return kernel_mount(NULL, "/", NULL, op->flags, NULL);
}
