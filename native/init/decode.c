/* Checks the bytes of a plan (wire.h) before anything believes them: CVE-2021-43784 was a length that wrapped.
 *
 * All arithmetic is on u32 values that were compared before they are subtracted; nothing is added that could wrap. */
#include <stdbool.h>
#include <string.h>

#include "plan.h"

#define SLOTS_MAX 65536u

struct area {
	const char *bytes;
	uint32_t size;
};

static bool good_str(const struct area *area, field_str s)
{
	if (s.offset > area->size)
		return false;
	if (s.length == 0)
		return true;
	/* One byte more than the length: the NUL behind it, the only one. */
	return s.length < area->size - s.offset && memchr(area->bytes + s.offset, 0, (size_t)s.length + 1) ==
							   area->bytes + s.offset + s.length;
}

static bool good_blob(const struct area *area, field_blob b)
{
	return b.offset <= area->size && b.length <= area->size - b.offset && b.offset % 8 == 0;
}

static bool good_strv(const struct area *area, field_strv v)
{
	const field_str *strings;

	if (v.offset > area->size || v.offset % 4 != 0 || v.count > (area->size - v.offset) / sizeof(field_str))
		return false;
	strings = (const field_str *)(const void *)(area->bytes + v.offset);
	for (uint32_t i = 0; i < v.count; i++)
		if (!good_str(area, strings[i]))
			return false;
	return true;
}

#define good_u32(area, value) true
#define good_i32(area, value) true
#define good_u64(area, value) true
#define good_i64(area, value) true

#define F(type, name) && good_##type(area, op->name)
#define OP(name, ...)                                                                   \
	static bool good_##name(const struct area *area, const struct op_##name *op)    \
	{                                                                               \
		(void)area;                                                             \
		(void)op;                                                               \
		return true __VA_ARGS__;                                                \
	}
#include "../ops.def"
#undef OP
#undef F

/* NULL, or what is wrong with the record's head or fields. */
static const char *check_record(const struct area *area, const struct record *record)
{
	const void *op = record + 1;

	switch (record->kind) {
#define OP(name, ...)                                                           \
	case OP_##name:                                                         \
		if (record->size != sizeof(*record) + sizeof(struct op_##name)) \
			return "a record has the wrong size for its kind";      \
		return good_##name(area, op) ? NULL : "a string or list lies outside of the string area";
#include "../ops.def"
#undef OP
	default:
		return "a record is of unknown kind";
	}
}

static const char *check_header(const struct plan_header *header, size_t size)
{
	if (size < sizeof(*header))
		return "the plan is shorter than its header";
	if (header->magic != PLAN_MAGIC || header->version != PLAN_VERSION)
		return "the plan is of another version";
	if (header->total != size)
		return "the plan has another length than it says";
	if (header->records_offset != sizeof(*header) || header->strings_offset % 8 != 0 ||
	    header->strings_offset < header->records_offset || header->strings_offset > header->total)
		return "the parts of the plan are out of place";
	if (header->outer_count > header->record_count)
		return "the outer stage has more records than there are";
	if (header->slot_count > SLOTS_MAX)
		return "there are too many slots";
	return NULL;
}

static const char *check_records(const struct plan_header *header)
{
	const char *start = (const char *)header;
	const struct area area = { start + header->strings_offset, header->total - header->strings_offset };
	uint32_t at = header->records_offset;

	for (uint32_t i = 0; i < header->record_count; i++) {
		const struct record *record = (const void *)(start + at);
		const uint32_t left = header->strings_offset - at;
		const char *wrong;

		if (left < sizeof(*record) || record->size < sizeof(*record) || record->size > left)
			return "a record lies outside of the plan";
		wrong = check_record(&area, record);
		if (wrong != NULL)
			return wrong;
		at += record->size;
	}
	return at == header->strings_offset ? NULL : "there are more records than the plan says";
}

int plan_decode(struct plan *plan, const void *data, size_t size, const char **reason)
{
	const struct plan_header *header = data;

	*reason = check_header(header, size);
	if (*reason == NULL)
		*reason = check_records(header);
	if (*reason != NULL)
		return -1;
	plan->header = header;
	plan->strings = (const char *)data + header->strings_offset;
	return 0;
}

const struct record *plan_next(const struct plan *plan, const struct record *previous)
{
	const char *start = (const char *)plan->header;
	const char *next = previous == NULL ? start + plan->header->records_offset : (const char *)previous + previous->size;

	return next == plan->strings ? NULL : (const void *)next;
}
