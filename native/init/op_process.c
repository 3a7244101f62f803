/* What a process has beside its namespaces: session, keys, limits, ids, capabilities, filter. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"
#include "kernel.h"

/* security/keys/permission.c; keyctl_setperm(3). */
#define KEY_OWNER_SEARCH 0x00080000u
#define KEY_OTHER_SEARCH 0x00000008u

int op_new_session(struct init *init, const struct op_new_session *op)
{
	(void)init;
	(void)op;
	return setsid() < 0 ? -errno : 0;
}

/* Add a permission to a key. */
static int permit(long key, unsigned int permission)
{
	char description[512]; /* type;uid;gid;permissions;name */
	const char *field = description;
	unsigned long held;
	long n = syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, description, sizeof(description));

	if (n < 0)
		return -errno;
	description[sizeof(description) - 1] = '\0';
	for (int i = 0; i < 3 && field != NULL; i++)
		if ((field = strchr(field, ';')) != NULL)
			field++;
	if (field == NULL)
		return -EPROTO;
	held = strtoul(field, NULL, 16);
	if ((held & permission) == permission)
		return 0;
	return syscall(SYS_keyctl, KEYCTL_SETPERM, key, held | permission) < 0 ? -errno : 0;
}

int op_keyring(struct init *init, const struct op_keyring *op)
{
	const long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan_str(&init->plan, op->name));
	int r;

	/* A kernel without keys: what does not exist needs no separation (runc goes on as well). */
	if (key < 0)
		return errno == ENOSYS ? 0 : -errno;
	/* In a user namespace the ids that the container will use are not the ring's owner. */
	r = permit(key, init->user_namespace ? KEY_OTHER_SEARCH : KEY_OWNER_SEARCH);
	if (r < 0)
		say(init, "set its permissions");
	return r;
}

int op_link_up(struct init *init, const struct op_link_up *op)
{
	const char *name = plan_str(&init->plan, op->name);
	struct ifreq request;
	int fd, r = 0;

	memset(&request, 0, sizeof(request));
	if (strlen(name) >= sizeof(request.ifr_name))
		return -ENODEV;
	strcpy(request.ifr_name, name);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 && errno == EAFNOSUPPORT)
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* a kernel without IPv4: any socket knows its devices */
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		r = -errno;
	} else if (!(request.ifr_flags & IFF_UP)) {
		request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
		if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
			r = -errno;
	}
	close(fd);
	return r;
}

int op_hostname(struct init *init, const struct op_hostname *op)
{
	return sethostname(plan_str(&init->plan, op->name), op->name.length) < 0 ? -errno : 0;
}

int op_domainname(struct init *init, const struct op_domainname *op)
{
	return setdomainname(plan_str(&init->plan, op->name), op->name.length) < 0 ? -errno : 0;
}

static bool is_null_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

int op_own_stdio(struct init *init, const struct op_own_stdio *op)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;
		if (fstat(fd, &st) < 0)
			return -errno;
		/* /dev/null is everybody's. Only the owner changes: a terminal's group (tty) has its own meaning. */
		if (st.st_uid == op->uid || is_null_device(&st) || fchown(fd, op->uid, st.st_gid) == 0)
			continue;
		/* EINVAL: the group is not mapped here; EPERM: the owner is not; EROFS: then it stays whose it is. */
		if (errno != EINVAL && errno != EPERM && errno != EROFS) {
			const int error = errno;
			say(init, "descriptor %d", fd);
			return -error;
		}
	}
	return 0;
}

int op_no_new_privs(struct init *init, const struct op_no_new_privs *op)
{
	(void)init;
	(void)op;
	return prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0 ? -errno : 0;
}

/* Every capability that this kernel has, as a mask. */
static uint64_t known_capabilities(void)
{
	uint64_t known = 0;

	for (int number = 0; number < 64 && prctl(PR_CAPBSET_READ, (long)number, 0L, 0L, 0L) >= 0; number++)
		known |= UINT64_C(1) << number;
	return known;
}

int op_bounding(struct init *init, const struct op_bounding *op)
{
	for (int number = 0; number < 64; number++) {
		const int held = prctl(PR_CAPBSET_READ, (long)number, 0L, 0L, 0L);
		if (held < 0)
			break; /* beyond the kernel's last one */
		if (held == 0 || op->keep >> number & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, (long)number, 0L, 0L, 0L) < 0) {
			const int error = errno;
			say(init, "capability %d", number);
			return -error;
		}
	}
	return 0;
}

int op_set_user(struct init *init, const struct op_set_user *op)
{
	const gid_t *groups = plan_blob(&init->plan, op->groups);

	/* Now, since later the user may not read it, or the filter not allow it (as runc). */
	if (lacks_home(init))
		note_home(init, op->uid);
	/* The permitted set survives the change from 0, and set_capabilities picks from it. */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0)
		return -errno;
	if (op->set_groups && setgroups(op->groups.length / sizeof(*groups), groups) < 0 &&
	    !(op->set_groups == 2 && errno == EPERM)) {
		const int error = errno;
		say(init, "setgroups");
		return -error;
	}
	if (setresgid(op->gid, op->gid, op->gid) < 0) {
		const int error = errno;
		say(init, "setgid %u", op->gid);
		return -error;
	}
	if (setresuid(op->uid, op->uid, op->uid) < 0) {
		const int error = errno;
		say(init, "setuid %u", op->uid);
		return -error;
	}
	(void)prctl(PR_SET_KEEPCAPS, 0L, 0L, 0L, 0L);
	return 0;
}

/* Words for an EPERM: the wanted capabilities that the process has not got. */
static void say_missing(struct init *init, uint64_t wanted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint64_t missing;

	if (syscall(SYS_capget, &header, data) < 0)
		return;
	missing = wanted & ~((uint64_t)data[1].permitted << 32 | data[0].permitted);
	for (int number = 0; number < 64; number++)
		if (missing >> number & 1) {
			say(init, "capability %d is not permitted here", number);
			return;
		}
}

/* The sets of the process, and CAP_SYS_ADMIN permitted or more where it is to be kept for the filter. */
static int set_sets(const struct capabilities *sets, uint64_t more_effective, uint64_t more_permitted)
{
	const uint64_t effective = sets->effective | more_effective, permitted = sets->permitted | more_permitted;
	const uint64_t inheritable = sets->inheritable;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct data[2] = {
		{ (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
		{ (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32) },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static bool is_permitted(unsigned capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &header, data) == 0 && data[capability / 32].permitted >> capability % 32 & 1;
}

int op_set_capabilities(struct init *init, const struct op_set_capabilities *op)
{
	const uint64_t known = known_capabilities();
	const struct capabilities sets = { op->effective & known, op->permitted & known, op->inheritable & known };
	/* The kernel keeps only what is permitted and inheritable in the ambient set (capabilities(7)). */
	const uint64_t ambient = op->ambient & sets.permitted & sets.inheritable;
	int r;

	init->capabilities = sets;
	init->for_filter = op->for_filter && is_permitted(CAP_SYS_ADMIN) ? UINT64_C(1) << CAP_SYS_ADMIN : 0;
	r = set_sets(&sets, 0, init->for_filter);
	if (r < 0) {
		say_missing(init, sets.permitted | sets.effective);
		return r;
	}
	if (prctl(PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L) < 0)
		return -errno;
	for (int number = 0; number < 64; number++)
		if (ambient >> number & 1 &&
		    prctl(PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_RAISE, (long)number, 0L, 0L) < 0) {
			const int error = errno;
			say(init, "ambient capability %d", number);
			return -error;
		}
	show(init, true); /* from here on it is what the container's process will be; a filter may forbid it later */
	return 0;
}

int op_umask(struct init *init, const struct op_umask *op)
{
	(void)init;
	(void)umask(op->mask);
	return 0;
}

/* By number and in 64 bits, whatever the libc's struct rlimit is. */
static int limit(uint32_t resource, const uint64_t wanted[2], uint64_t held[2])
{
	return syscall(SYS_prlimit64, 0, resource, wanted, held) < 0 ? -errno : 0;
}

int op_raise_rlimit(struct init *init, const struct op_raise_rlimit *op)
{
	uint64_t pair[2]; /* soft, hard */
	const int r = limit(op->resource, NULL, pair);

	(void)init;
	if (r < 0 || pair[1] >= op->hard)
		return r;
	pair[1] = op->hard;
	return limit(op->resource, pair, NULL);
}

int op_set_rlimit(struct init *init, const struct op_set_rlimit *op)
{
	const uint64_t pair[2] = { op->soft, op->hard };

	(void)init;
	return limit(op->resource, pair, NULL);
}

int op_listener(struct init *init, const struct op_listener *op)
{
	/* The lowest free number, which seccomp(2) takes: nobody else opens anything here. */
	const int next = fcntl(init->socket, F_DUPFD_CLOEXEC, 0);
	int r;

	(void)op;
	if (next < 0)
		return -errno;
	close(next);
	r = tell_and_wait(init, MESSAGE_LISTENER, next);
	return r < 0 ? r : 0;
}

static int load(struct init *init, uint32_t flags, const struct sock_fprog *program)
{
	const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);

	if (fd > 0 && flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		init->listener = (int)fd;
	return fd < 0 ? -errno : 0;
}

/* With the capability that a filter without no_new_privs takes; the process itself is not to have it. */
static int load_as_admin(struct init *init, uint32_t flags, const struct sock_fprog *program)
{
	int r = set_sets(&init->capabilities, init->for_filter, init->for_filter);

	if (r == 0)
		r = load(init, flags, program);
	if (r < 0)
		return r;
	r = set_sets(&init->capabilities, 0, 0);
	if (r < 0)
		say(init, "capset(2) under the filter, to give up CAP_SYS_ADMIN");
	return r;
}

int op_seccomp(struct init *init, const struct op_seccomp *op)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(op->filter.length / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(uintptr_t)plan_blob(&init->plan, op->filter),
	};

	if (op->filter.length % sizeof(struct sock_filter) != 0 || op->filter.length / sizeof(struct sock_filter) > BPF_MAXINSNS) {
		say(init, "the filter has %u instructions, the kernel takes %d at most",
		    op->filter.length / (uint32_t)sizeof(struct sock_filter), BPF_MAXINSNS);
		return -EINVAL;
	}
	return init->for_filter & ~init->capabilities.effective ? load_as_admin(init, op->flags, &program) :
								    load(init, op->flags, &program);
}
