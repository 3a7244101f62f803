/* Descriptors that wait for their use in the queue of a socket: sources of bind mounts are opened while the host can be
 * reached, and may be many more than a process may have open. What is under way counts for the sender's user, and for
 * nobody with CAP_SYS_ADMIN in the initial user namespace (unix(7), ETOOMANYREFS). */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

#define GROUP_MAX 253 /* the kernel's SCM_MAX_FD */

/* One end for putting in, one for taking out: PID 1 inherits them from the outer stage. */
static int queue[2] = {-1, -1};

/* A message is the slots of a group, with their descriptors. */
struct group {
	uint32_t slots[GROUP_MAX];
	union {
		char bytes[CMSG_SPACE(GROUP_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
};

static int send_group(struct group *group, const int *descriptors, size_t count)
{
	struct iovec data = {.iov_base = group->slots, .iov_len = count * sizeof(*group->slots)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = group->control.bytes};
	struct cmsghdr *head;

	message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int)); /* size_t in glibc */
	head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(head), descriptors, count * sizeof(int));
	return sendmsg(queue[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int op_put_away(struct init *init, const struct op_put_away *op)
{
	struct group group = {0};
	int descriptors[GROUP_MAX];
	size_t count = 0;
	int r;

	if (op->count > GROUP_MAX || op->first > init->plan.header->slot_count ||
	    op->count > init->plan.header->slot_count - op->first)
		return -EINVAL;
	if (queue[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, queue) < 0)
		return -errno;
	for (uint32_t slot = op->first; slot < op->first + op->count; slot++) {
		if (init->slots[slot] < 0)
			continue;
		group.slots[count] = slot;
		descriptors[count++] = init->slots[slot];
	}
	r = send_group(&group, descriptors, count);
	for (size_t i = 0; i < count && r == 0; i++)
		slot_close(init, group.slots[i]);
	return r;
}

static int receive_group(struct group *group, int *descriptors, size_t *ret_count)
{
	struct iovec data = {.iov_base = group->slots, .iov_len = sizeof(group->slots)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = group->control.bytes};
	struct cmsghdr *head;
	ssize_t n;

	message.msg_controllen = sizeof(group->control.bytes);
	n = recvmsg(queue[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	*ret_count = (size_t)n / sizeof(*group->slots);
	head = CMSG_FIRSTHDR(&message);
	/* What finds no room among our descriptors is left out. */
	if (message.msg_flags & MSG_CTRUNC || !head || head->cmsg_len != CMSG_LEN(*ret_count * sizeof(int)))
		return -EMFILE;
	memcpy(descriptors, CMSG_DATA(head), *ret_count * sizeof(int));
	return 0;
}

int op_fetch(struct init *init, const struct op_fetch *op)
{
	struct group group = {0};
	int descriptors[GROUP_MAX];
	size_t count = 0;
	int r = receive_group(&group, descriptors, &count);

	for (size_t i = 0; i < count && r == 0; i++)
		r = slot_fill(init, group.slots[i], descriptors[i]);
	for (int i = 0; i < 2 && op->last; i++) {
		close(queue[i]);
		queue[i] = -1;
	}
	return r;
}
