/* The decoder by itself, for the tests: reads plans (u32 size, bytes) from stdin until its end, and answers each with
 * what is wrong with it, or with all that it holds, as one line. Built with the sanitizers, every plan in a block of
 * exactly its size, so that a look beyond the end of it stops the program. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static const struct plan *plan;

static void print_bytes(const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
}

static void print_u32(field_u32 value) { printf("%" PRIu32, value); }
static void print_i32(field_i32 value) { printf("%" PRId32, value); }
static void print_u64(field_u64 value) { printf("%" PRIu64, value); }
static void print_i64(field_i64 value) { printf("%" PRId64, value); }
static void print_blob(field_blob value) { print_bytes(plan_blob(plan, value), value.length); }

static void print_text(const char *text)
{
	putchar('"');
	print_bytes(text, strlen(text)); /* its NUL must be inside of the plan */
	putchar('"');
}

static void print_str(field_str value) { print_text(plan_str(plan, value)); }

static void print_strv(field_strv value)
{
	putchar('[');
	for (uint32_t i = 0; i < value.count; i++)
		print_text(plan_strv(plan, value, i));
	putchar(']');
}

#define F(type, name) putchar(' '); print_##type(op->name);
#define OP(name, ...)                                     \
	static void print_##name(const struct op_##name *op) \
	{                                                 \
		(void)op;                                 \
		fputs(#name, stdout);                     \
		__VA_ARGS__                               \
	}
#include "../ops.def"
#undef OP
#undef F

static void print_record(const struct record *record)
{
	const void *op = record + 1;

	printf(" %" PRIu32 ":", record->index);
	switch (record->kind) {
#define OP(name, ...) case OP_##name: print_##name(op); break;
#include "../ops.def"
#undef OP
	default:
		abort();
	}
	putchar(';');
}

int main(void)
{
	uint32_t size;

	while (fread(&size, sizeof(size), 1, stdin) == 1) {
		void *data = malloc(size);
		const char *reason = NULL;
		struct plan decoded;

		if ((size > 0 && data == NULL) || fread(data, 1, size, stdin) != size)
			return 2;
		if (plan_decode(&decoded, data, size, &reason) < 0) {
			puts(reason);
		} else {
			plan = &decoded;
			fputs("ok", stdout);
			for (const struct record *record = plan_next(plan, NULL); record; record = plan_next(plan, record))
				print_record(record);
			putchar('\n');
		}
		fflush(stdout);
		free(data);
	}
	return 0;
}
