#define _GNU_SOURCE
#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

/* mount(2) has one word for what are attributes of a mount and flags of a superblock (then options of fsconfig(2))
 * in the newer calls; "ro" is both. */
const struct mount_flag MOUNT_FLAGS[] = {
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
const size_t MOUNT_FLAGS_COUNT = sizeof(MOUNT_FLAGS) / sizeof(*MOUNT_FLAGS);

/* f_flags of statfs(2) (include/linux/statfs.h of the kernel) as attributes. */
static const struct {
	unsigned long flag;
	uint32_t attribute;
} STATFS_FLAGS[] = {
	{0x0001, MOUNT_ATTR_RDONLY},	 {0x0002, MOUNT_ATTR_NOSUID},	  {0x0004, MOUNT_ATTR_NODEV},
	{0x0008, MOUNT_ATTR_NOEXEC},	 {0x0400, MOUNT_ATTR_NOATIME},	  {0x0800, MOUNT_ATTR_NODIRATIME},
	{0x2000, MOUNT_ATTR_NOSYMFOLLOW},
};
#define ST_RELATIME_FLAG 0x1000UL
#define STATFS_FLAGS_COUNT (sizeof(STATFS_FLAGS) / sizeof(*STATFS_FLAGS))

int closing(int fd, int result)
{
	if (fd >= 0)
		close(fd);
	return result;
}

uint32_t attributes_of(unsigned long flags)
{
	uint32_t attributes = 0;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		if (flags & MOUNT_FLAGS[i].flag)
			attributes |= MOUNT_FLAGS[i].attribute;
	return attributes;
}

unsigned long flags_of(uint32_t attributes)
{
	unsigned long flags = 0;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		if (attributes & MOUNT_FLAGS[i].attribute)
			flags |= MOUNT_FLAGS[i].flag;
	return flags;
}

int present_attributes(int mount, uint32_t *ret_attributes)
{
	struct statfs fs;

	if (fstatfs(mount, &fs) < 0)
		return -errno;
	*ret_attributes = 0;
	for (size_t i = 0; i < STATFS_FLAGS_COUNT; i++)
		if ((unsigned long)fs.f_flags & STATFS_FLAGS[i].flag)
			*ret_attributes |= STATFS_FLAGS[i].attribute;
	return 0;
}

/* The word of mount(2) for the access times that are neither noatime nor strictatime by an attribute. */
static unsigned long other_atime(int mount, uint32_t changed)
{
	struct statfs fs;

	if (changed & MOUNT_ATTR__ATIME || fstatfs(mount, &fs) < 0)
		return MS_RELATIME; /* the kernel's own, as for mount_setattr(2) */
	return (unsigned long)fs.f_flags & ST_RELATIME_FLAG ? MS_RELATIME : MS_STRICTATIME;
}

/* mount(2) MS_REMOUNT|MS_BIND replaces all attributes, except that no word on access times leaves all of them, of
 * directories too, as they are. */
static int remount(int mount, uint32_t set, uint32_t clear)
{
	uint32_t present = 0;
	unsigned long flags;
	int r = present_attributes(mount, &present);

	if (r < 0)
		return r;
	flags = flags_of((present & ~clear) | set);
	if ((set | clear) & (MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME) && !(flags & (MS_NOATIME | MS_STRICTATIME)))
		flags |= other_atime(mount, set | clear);
	return procfs_mount(-1, NULL, mount, NULL, MS_REMOUNT | MS_BIND | flags, NULL);
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
	if (!has_mount_setattr())
		say(init, "recursive mount attributes need mount_setattr(2) (Linux 5.12)");
	return r;
}

int set_propagation(int mount, uint32_t flags)
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

int detach(int mount)
{
	int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (back < 0)
		return -errno;
	r = fchdir(mount) < 0 ? -errno : kernel_umount2(".", MNT_DETACH);
	if (fchdir(back) < 0 && r == 0)
		r = -errno;
	return closing(back, r);
}

bool has_mount_setattr(void)
{
	struct mount_attr nothing = {0};

	return !lacks(kernel_mount_setattr(AT_FDCWD, ".", 0, &nothing));
}

bool has_detached_trees(void)
{
	int fd = kernel_open_tree(AT_FDCWD, ".", OPEN_TREE_CLOEXEC);

	return closing(fd, !lacks(fd));
}

static int set_bind_attributes(struct init *init, int mount, const struct bind *bind)
{
	int r = set_attributes(init, mount, false, bind->attr_set, bind->attr_clear);

	return r < 0 ? r : set_attributes(init, mount, true, bind->rec_set, bind->rec_clear);
}

int attach_bind(struct init *init, int tree, const struct bind *bind)
{
	int r = change_attributes(tree, false, bind->attr_set, bind->attr_clear);
	bool late;

	if (r == 0)
		r = change_attributes(tree, true, bind->rec_set, bind->rec_clear);
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
	if (r == 0)
		r = root_covered(init, bind->again, tree);
	close(tree);
	return lacks(r) ? bind_by_path(init, bind) : r;
}
