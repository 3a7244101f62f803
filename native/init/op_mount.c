/* New file systems. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "copyup.h"
#include "inroot.h"
#include "kernel.h"
#include "procfs.h"

#define FSCONFIG_STRING_MAX 256 /* fs/fsopen.c copies no more of a value */
#define MOUNT_DATA_MAX 4096     /* mount(2) copies one page */
#define PROPAGATION (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

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

/* Can fsconfig(2) say all of it? A string with a comma is several options for mount(2), or a value in quotes, which only
 * that takes off (context="system_u:object_r:container_file_t:s0:c1,c2"). */
static bool fits_fsconfig(const struct init *init, const struct request *request)
{
	unsigned long rest = request->flags;

	for (size_t i = 0; i < MOUNT_FLAGS_COUNT; i++)
		rest &= ~MOUNT_FLAGS[i].flag;
	for (uint32_t i = 0; i < request->options.count; i++)
		if (strlen(option(init, request, i)) >= FSCONFIG_STRING_MAX || strpbrk(option(init, request, i), ",\"") != NULL)
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

static int mount_data(struct init *init, const struct request *request, char data[MOUNT_DATA_MAX])
{
	size_t length = strlen(request->first);

	memcpy(data, request->first, length + 1);
	for (uint32_t i = 0; i < request->options.count; i++) {
		const char *text = option(init, request, i);
		size_t n = strlen(text);

		if (length + n + 2 > MOUNT_DATA_MAX) {
			say(init, "the options are longer than the %d bytes that mount(2) takes", MOUNT_DATA_MAX - 1);
			return IN_WORDS;
		}
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
	int target = inroot_directory(init, path, 0755, inroot_flags(op->target_flags), ret_made);

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
		r = copy_up_contents(init, target, mount);
	if (r == 0)
		r = attach(mount, target);
	return r < 0 ? closing(mount, r) : mount;
}

static int mount_old(struct init *init, const struct op_mount *op, const struct request *request, int target)
{
	const char *path = plan_str(&init->plan, op->target);
	int mount, r = 0;

	init->detail[0] = '\0';
	mount = old_mount(init, request, target, path, inroot_flags(op->target_flags));
	if (mount >= 0 && op->target_flags & TARGET_COPY_UP)
		r = copy_up_contents(init, target, mount);
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
	if (r == 0)
		r = root_covered(init, plan_str(&init->plan, op->target), mount);
	return closing(mount, r);
}

/* MS_REMOUNT changes the file system, and replaces all attributes of the mount, of which those that it has are said
 * again (`setattr` is for these). Without a word on access times they stay (mount(2)). */
static int remount(int mount, unsigned long flags, const char *data)
{
	uint32_t present = 0;
	int r = present_attributes(mount, &present);

	present &= ~(uint32_t)MOUNT_ATTR_RDONLY;
	return r < 0 ? r : procfs_mount(-1, NULL, mount, NULL, MS_REMOUNT | flags | flags_of(present), data);
}

static int remount_file_system(struct init *init, const struct op_mount *op, const struct request *request)
{
	int mount = inroot_open(init, plan_str(&init->plan, op->target), 0);
	char data[MOUNT_DATA_MAX];
	int r;

	if (mount < 0)
		return mount;
	r = mount_data(init, request, data);
	return closing(mount, r < 0 ? r : remount(mount, request->flags, data));
}

int op_new_mount(struct init *init, const struct op_new_mount *op)
{
	const struct request request = {
		.fstype = plan_str(&init->plan, op->fstype),
		.source = plan_str(&init->plan, op->source),
		.options = op->options,
		.flags = op->ms_flags & ~(unsigned long)(PROPAGATION | MS_REC | MS_I_VERSION),
	};
	struct stat st;
	int mount;

	if (stat(request.source, &st) < 0 || !S_ISBLK(st.st_mode))
		return 0;
	mount = new_mount(init, &request);
	if (lacks(mount)) {
		init->detail[0] = '\0';
		return 0;
	}
	return mount < 0 ? mount : slot_fill(init, op->slot, mount);
}

/* Attach what new_mount has made. Only mount(2) knows "iversion". */
static int mount_made(struct init *init, const struct op_mount *op, unsigned long flags, int target)
{
	const int mount = slot_fd(init, op->slot);
	int r = attach(mount, target);

	if (r == 0 && flags & MS_I_VERSION)
		r = remount(mount, flags, NULL);
	if (r == 0)
		r = set_propagation(mount, op->propagation);
	if (r == 0)
		r = root_covered(init, plan_str(&init->plan, op->target), mount);
	slot_close(init, op->slot);
	return r;
}

static bool is_made(const struct init *init, uint32_t slot)
{
	return slot < init->plan.header->slot_count && init->slots[slot] >= 0;
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
	int target, r = 0;

	if (request.flags & MS_REMOUNT)
		return remount_file_system(init, op, &request);
	target = mount_target(init, op, &made);
	if (target < 0)
		return target;
	if (!made && strcmp(request.fstype, "tmpfs") == 0)
		r = inherit_mode(&request, target);
	if (r == 0)
		r = procfs_check_target(init, target, plan_str(&init->plan, op->target), request.fstype, -1);
	if (r == 0)
		r = is_made(init, op->slot) ? mount_made(init, op, request.flags, target) : mount_at(init, op, &request, target);
	return closing(target, r);
}
