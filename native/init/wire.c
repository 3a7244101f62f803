/* The init's side of wire.h. Plain read(2) and write(2): they are all that a strict seccomp filter is sure to allow. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

static int send_packet(int fd, const void *packet, size_t size)
{
	ssize_t n;

	do
		n = write(fd, packet, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int tell(struct init *init, enum message_type type, int32_t arg)
{
	const struct message message = { .type = type, .arg = arg, .index = init->record ? init->record->index : 0 };

	return send_packet(init->socket, &message, sizeof(message));
}

int wait_for_ack(struct init *init)
{
	struct message message;
	ssize_t n;

	do
		n = read(init->socket, &message, sizeof(message));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPIPE;
	if ((size_t)n != sizeof(message) || message.type != MESSAGE_ACK || message.arg < 0)
		return -EPROTO;
	return message.arg;
}

int tell_and_wait(struct init *init, enum message_type type, int32_t arg)
{
	int r = tell(init, type, arg);

	return r < 0 ? r : wait_for_ack(init);
}

/* To the runtime: a message with the words behind it. */
static void tell_runtime(struct init *init, const struct message *message)
{
	const size_t words = strlen(init->detail);
	char packet[sizeof(*message) + sizeof(init->detail)];

	memcpy(packet, message, sizeof(*message));
	memcpy(packet + sizeof(*message), init->detail, words);
	(void)send_packet(init->socket, packet, sizeof(*message) + words);
}

/* To `start`, which reads the fifo once this process is gone. One write of at most PIPE_BUF bytes is never split. */
static void tell_start(struct init *init, const struct message *message)
{
	char text[4096];
	int n = snprintf(text, sizeof(text), "%u %d %s", message->index, message->error, init->detail);

	if (n > 0)
		(void)send_packet(init->fifo, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void tell_failure(struct init *init, int result)
{
	const struct message message = {
		.type = MESSAGE_ERROR,
		.index = init->record != NULL ? init->record->index : UINT32_MAX,
		.error = result == IN_WORDS ? 0 : -result,
	};

	if (init->socket >= 0)
		tell_runtime(init, &message);
	else if (init->fifo >= 0)
		tell_start(init, &message);
}

void say(struct init *init, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(init->detail, sizeof(init->detail), format, arguments);
	va_end(arguments);
}
