/* The plan as the init sees it: one struct for each OP of ops.def. wire.h describes the bytes. */
#ifndef OCIRUN_PLAN_H
#define OCIRUN_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

typedef uint32_t field_u32;
typedef int32_t field_i32;
typedef uint64_t field_u64;
typedef int64_t field_i64;
/* Places in the string area, checked by plan_decode(): use plan_str(), plan_strv() and plan_blob(). */
typedef struct {
	uint32_t offset, length;
} field_str;
typedef struct {
	uint32_t offset, length;
} field_blob;
typedef struct {
	uint32_t offset, count;
} field_strv;

#define F(type, name) field_##type name;
#define OP(name, ...)               \
	struct op_##name {          \
		__VA_ARGS__         \
	} __attribute__((aligned(8)));
#include "../ops.def"
#undef OP

#define OP(name, ...) OP_##name,
enum op_kind {
#include "../ops.def"
	OP_COUNT
};
#undef OP
#undef F

#define NO_SLOT 0xffffffffu

/* target_flags of `mount` and `bind`. */
#define TARGET_COPY_UP 1u    /* tmpcopyup: what the target holds below the mount is copied into the new file system */
#define TARGET_ORDINARY 2u   /* refuse a target with a symlink anywhere in it (proc, sysfs: CVE-2019-19921) */
#define TARGET_NO_FOLLOW 4u  /* the last component may not be a symlink */
#define TARGET_LABELLED 8u   /* reserved for mountLabel */
#define TARGET_AS_TAKEN 16u  /* `bind`: from the slot or not at all, since the path has another mount (idmap) */

/* A plan whose every offset, length and kind has been checked. */
struct plan {
	const struct plan_header *header;
	const char *strings;
};

/* Check `size` bytes at `data` (aligned to 8). 0, or -1 with *reason set to a constant text. */
int plan_decode(struct plan *plan, const void *data, size_t size, const char **reason);

/* The record after `previous`, the first one for NULL; NULL at the end. */
const struct record *plan_next(const struct plan *plan, const struct record *previous);

static inline const char *plan_str(const struct plan *plan, field_str s)
{
	return s.length ? plan->strings + s.offset : "";
}

static inline const void *plan_blob(const struct plan *plan, field_blob b)
{
	return plan->strings + b.offset;
}

/* String number i of a list. */
static inline const char *plan_strv(const struct plan *plan, field_strv v, uint32_t i)
{
	return plan_str(plan, ((const field_str *)(const void *)(plan->strings + v.offset))[i]);
}

#endif
