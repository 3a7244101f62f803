#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "attach.h"
#include "inroot.h"
#include "kernel.h"
#include "op_device.h"

#ifndef TIOCGPTPEER /* asm-generic; musl has no name for it */
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* The master's name, as runc sends it along; console sockets only look at the descriptor. */
static const char PTMX[] = "/dev/ptmx";

static bool is_ptmx(int fd)
{
	struct statfs fs;
	struct stat st;

	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(5, 2);
}

/* A pty master of the container's devpts. Looked at before it is opened, as opening some devices does things. */
static int open_master(struct init *init)
{
	int directory = inroot_open(init, "/dev/pts", 0);
	int found, fd;

	if (directory < 0)
		return directory;
	found = openat(directory, "ptmx", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (found < 0)
		return closing(directory, -errno);
	if (!is_ptmx(found))
		fd = -ENODEV;
	else
		fd = openat(directory, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		fd = -errno;
	if (fd >= 0 && !is_ptmx(fd))
		fd = closing(fd, -ENODEV);
	if (fd == -ENODEV)
		say(init, "/dev/pts/ptmx of the container is not of a devpts file system");
	close(found);
	return closing(directory, fd);
}

/* The slave by its master, not by a name in /dev/pts (CVE-2025-52565). */
static int open_slave(int master)
{
	int unlocked = 0;
	int fd;

	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return -errno;
	fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int set_size(int master, const struct op_console *op)
{
	struct winsize size = {.ws_row = (unsigned short)op->rows, .ws_col = (unsigned short)op->columns};

	if (!op->rows || !op->columns)
		return 0;
	return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static int bind_console(struct init *init, int slave)
{
	struct bind bind = {.source = slave, .again = "/dev/console"};

	bind.target = inroot_file(init, bind.again, 0666, INROOT_NO_FOLLOW);
	if (bind.target == -ELOOP)
		say(init, "/dev/console of the container is a symlink");
	return bind.target < 0 ? bind.target : closing(bind.target, bind_mount(init, &bind));
}

static int send_master(int socket, int master)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec name = {.iov_base = (void *)(uintptr_t)PTMX, .iov_len = sizeof(PTMX) - 1};
	struct msghdr message = {
		.msg_iov = &name,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &master, sizeof(int));
	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int take_as_stdio(int slave)
{
	for (int fd = 0; fd < 3; fd++)
		if (dup3(slave, fd, 0) < 0)
			return -errno;
	return ioctl(0, TIOCSCTTY, 0) < 0 ? -errno : 0;
}

static int set_up_console(struct init *init, const struct op_console *op, int socket, int master)
{
	int slave = open_slave(master);
	int r;

	if (slave < 0)
		return slave;
	r = set_size(master, op);
	if (r == 0 && op->bind_console)
		r = bind_console(init, slave);
	if (r == 0)
		r = send_master(socket, master);
	if (r == 0)
		r = take_as_stdio(slave);
	return closing(slave, r);
}

int op_console(struct init *init, const struct op_console *op)
{
	int socket = slot_fd(init, op->slot);
	int master = socket < 0 ? -EBADF : open_master(init);
	int r;

	if (master < 0)
		return master;
	r = closing(master, set_up_console(init, op, socket, master));
	slot_close(init, op->slot);
	return r;
}

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

int op_reopen_dev_null(struct init *init, const struct op_reopen_dev_null *op)
{
	int null = -1;
	int r = 0;

	(void)op;
	for (int fd = 0; fd < 3 && r == 0; fd++) {
		if (!is_null(fd))
			continue;
		if (null < 0)
			null = open_null_device(init, O_RDWR);
		if (null < 0)
			r = null;
		else if (dup3(null, fd, 0) < 0)
			r = -errno;
	}
	if (r == -ELOOP || r == -ENODEV)
		say(init, "/dev/null of the container is not the null device");
	return closing(null, r);
}
