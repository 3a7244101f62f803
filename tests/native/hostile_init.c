/* An init that says and does whatever the tests have written for it (tests/drivers/hostile.py): in the place of
 * ocirun-init, with its argv and descriptors.
 *
 * $SCRIPT is what the outer stage does, $SIBLING what its first sibling (clone(2) with CLONE_PARENT) does; words
 * with a comma behind each:
 *
 *   m<hex>     send these bytes                    c    clone the sibling, and go on
 *   p          send PID with the sibling's pid     g    fork a child (no sibling), and send PID with its pid
 *   v<number>  send PID with that number           w    wait for a packet or end of file, 20 ms at most
 *   o<hex>     have a child send these bytes       f<hex>  send these bytes with a descriptor
 *   h<how>     shutdown(2)                         s    a new session
 *   e          execute a program that exits        k    SIGKILL for itself
 *   z          sleep for a millisecond             y    sleep for ever
 *
 * At the end of its words it exits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int wire, sibling, siblings;

static int digit(char character)
{
	const char *const digits = "0123456789abcdef";
	const char *found = character != '\0' ? strchr(digits, character) : NULL;

	return found != NULL ? (int)(found - digits) : -1;
}

static size_t bytes_of(const char *word, unsigned char *bytes)
{
	size_t size = 0;

	for (; digit(word[0]) >= 0 && digit(word[1]) >= 0; word += 2)
		bytes[size++] = (unsigned char)(digit(word[0]) * 16 + digit(word[1]));
	return size;
}

static void send_bytes(const char *word, int descriptor)
{
	static unsigned char bytes[16384];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec data = { .iov_base = bytes, .iov_len = bytes_of(word, bytes) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

	if (descriptor >= 0) {
		memcpy(CMSG_DATA(&control.head), &descriptor, sizeof(descriptor));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.room);
	}
	(void)sendmsg(wire, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_pid(int pid)
{
	const int32_t message[4] = { 2, pid, 0, 0 };

	(void)send(wire, message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void act(const char *script);

static void clone_sibling(const char *script)
{
	sibling = (int)syscall(SYS_clone, (unsigned long)CLONE_PARENT | SIGCHLD, 0UL, 0UL, 0UL, 0UL);
	if (sibling == 0) {
		act(script);
		_exit(3);
	}
}

static void perform(const char *word)
{
	struct pollfd readable = { .fd = wire, .events = POLLIN };
	char *const argv[] = { "true", NULL };
	char packet[64];
	int pid;

	switch (*word) {
	case 'm':
		send_bytes(word + 1, -1);
		break;
	case 'f':
		send_bytes(word + 1, 0);
		break;
	case 'c':
		clone_sibling(siblings++ == 0 ? getenv("SIBLING") : "z,");
		break;
	case 'p':
		send_pid(sibling);
		break;
	case 'v':
		send_pid(atoi(word + 1));
		break;
	case 'g':
		pid = fork();
		if (pid == 0) {
			(void)poll(NULL, 0, 20);
			_exit(0);
		}
		send_pid(pid);
		break;
	case 'o':
		pid = fork();
		if (pid == 0) {
			send_bytes(word + 1, -1);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		break;
	case 'w':
		if (poll(&readable, 1, 20) > 0)
			(void)!read(wire, packet, sizeof(packet));
		break;
	case 'h':
		shutdown(wire, atoi(word + 1));
		break;
	case 's':
		(void)setsid();
		break;
	case 'e':
		execv("/proc/self/exe", argv);
		break;
	case 'k':
		kill(getpid(), SIGKILL);
		break;
	case 'z':
		(void)poll(NULL, 0, 1);
		break;
	case 'y':
		(void)poll(NULL, 0, -1);
		break;
	default:
		break;
	}
}

static void act(const char *script)
{
	for (; script != NULL && *script != '\0'; script = strchr(script, ',') + 1)
		perform(script);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 0; /* executed by itself */
	wire = atoi(argv[1]);
	(void)fcntl(wire, F_SETFD, FD_CLOEXEC);
	act(getenv("SCRIPT"));
	return 3;
}
