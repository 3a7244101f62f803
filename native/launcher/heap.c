/* The heap of the snapshot: an array of the executable's .bss, and so at the same place in every process.
 *
 * While the process that dumps is at work, all memory of Python comes from here: its objects, by PyMem_SetAllocator, and
 * what it asks malloc() for, since the linker directs its calls to the functions below (ld(1), --wrap). Replacing the
 * allocator of PYMEM_DOMAIN_RAW would not do: CPython goes back to the default one in many places, for locks, the
 * configuration, tables of interned strings (_PyMem_SetDefaultAllocator). In a restored process memory comes from
 * pymalloc and libc, which are as new as in any other, and nothing is given back to the array: a block of the snapshot
 * that is freed is left alone, and one that grows moves out.
 *
 * Memory is zero when it is allocated and made so again when it is freed: no stale word gets into the dump, where it
 * would be one that nobody can explain.
 *
 * Blocks are numbered in the order in which they are taken. That is the same order in every process that dumps the same
 * modules, so the build can say where single blocks are to be: those that commands write to, stand together at the beginning (native/snapshot.py). So that the order does not
 * depend on the places, what a block has room for follows from what was asked for alone. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "interpreter.h"
#include "snapshot.h"

#ifndef HEAP_SIZE
#define HEAP_SIZE (12u << 20) /* of address space; half of it is used */
#endif
#define UNIT 16               /* Python wants its objects aligned to this */
#define SMALL (64 * UNIT)     /* freed blocks up to this are kept by size */

static char heap[HEAP_SIZE] __attribute__((aligned(64))); /* more would make a segment of its own of it */
static size_t heap_used = UNIT - sizeof(uint64_t); /* so that blocks are aligned behind their headers */
static uint32_t numbered;

/* What stands before each block. */
struct header {
	uint32_t size; /* of header and block */
	uint32_t number;
};

/* The block of that number has its place: of its header, from the beginning of the heap. */
struct place {
	uint32_t number;
	uint32_t offset;
	uint32_t size;
};

/* By number; one more, at the end, says how much of the heap they take. */
static const struct place *places;

/* A freed block. */
struct hole {
	struct hole *next;
};

static struct hole *holes[SMALL / UNIT + 1]; /* by size / UNIT; 0: the large ones */

/* Names that ld(1) gives to the functions that it wraps, and looks for in their place. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);

static bool in_heap(const void *block)
{
	return (uintptr_t)block - (uintptr_t)heap < HEAP_SIZE;
}

static struct header *header_of(void *block)
{
	return (struct header *)block - 1;
}

static size_t room_of(void *block)
{
	return header_of(block)->size - sizeof(struct header);
}

static struct hole **holes_of(size_t size)
{
	return &holes[size <= SMALL ? size / UNIT : 0];
}

static void *block_at(size_t offset, size_t size)
{
	struct header *header = (struct header *)(heap + offset);

	header->size = (uint32_t)size;
	header->number = numbered;
	return header + 1;
}

static void *take(size_t room)
{
	const size_t size = (room + sizeof(struct header) + UNIT - 1) / UNIT * UNIT;

	if (room > HEAP_SIZE)
		fail("dump", "the heap is full");
	numbered++;
	if (places != NULL && places->number == numbered) {
		if (places->size != size)
			fail("dump", "blocks are not taken in the order in which they were");
		return block_at(places++->offset, size);
	}
	for (struct hole **place = holes_of(size); *place != NULL; place = &(*place)->next) {
		struct hole *hole = *place;
		if (header_of(hole)->size != size)
			continue;
		*place = hole->next;
		hole->next = NULL;
		header_of(hole)->number = numbered;
		return hole;
	}
	if (size > HEAP_SIZE - heap_used)
		fail("dump", "the heap is full");
	heap_used += size;
	return block_at(heap_used - size, size);
}

static void give(void *block)
{
	struct hole *hole = block, **place = holes_of(header_of(block)->size);

	memset(block, 0, room_of(block));
	hole->next = *place;
	*place = hole;
}

void *__wrap_malloc(size_t size)
{
	return restored ? __real_malloc(size) : take(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	size_t room;

	if (restored)
		return __real_calloc(count, size);
	return __builtin_mul_overflow(count, size, &room) ? NULL : take(room);
}

void __wrap_free(void *block)
{
	if (!in_heap(block))
		__real_free(block);
	else if (!restored)
		give(block);
}

/* A larger or smaller block; `allocate` makes it where the old one does not do. */
static void *resize(void *block, size_t size, void *(*allocate)(size_t))
{
	const size_t room = room_of(block);

	if (size <= room && (restored || size >= room / 2)) {
		if (!restored)
			memset((char *)block + size, 0, room - size);
		return block;
	}
	void *other = allocate(size);
	if (other == NULL)
		return NULL;
	memcpy(other, block, size < room ? size : room);
	__wrap_free(block);
	return other;
}

void *__wrap_realloc(void *block, size_t size)
{
	if (block == NULL)
		return __wrap_malloc(size);
	return in_heap(block) ? resize(block, size, __wrap_malloc) : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text)
{
	const size_t size = strlen(text) + 1;
	char *copy = __wrap_malloc(size);

	return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* Of Python's objects, which get pymalloc's when they are not in the heap. */
static PyMemAllocatorEx pymalloc;

static void *object_malloc(void *context, size_t size)
{
	(void)context;
	return restored ? pymalloc.malloc(pymalloc.ctx, size) : take(size);
}

static void *object_calloc(void *context, size_t count, size_t size)
{
	(void)context;
	return restored ? pymalloc.calloc(pymalloc.ctx, count, size) : __wrap_calloc(count, size);
}

static void object_free(void *context, void *block)
{
	(void)context;
	if (!in_heap(block))
		pymalloc.free(pymalloc.ctx, block);
	else if (!restored)
		give(block);
}

static void *object_allocate(size_t size)
{
	return object_malloc(NULL, size);
}

static void *object_realloc(void *context, void *block, size_t size)
{
	(void)context;
	if (block == NULL)
		return object_malloc(NULL, size);
	return in_heap(block) ? resize(block, size, object_allocate) : pymalloc.realloc(pymalloc.ctx, block, size);
}

/* pymalloc's own memory, which frames take some of too. */
static void *arena_alloc(void *context, size_t size)
{
	(void)context;
	if (!restored)
		return take(size);
	void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return arena == MAP_FAILED ? NULL : arena;
}

static void arena_free(void *context, void *arena, size_t size)
{
	(void)context;
	if (!in_heap(arena))
		munmap(arena, size);
	else if (!restored)
		give(arena);
}

void leave_heap(void)
{
	places = NULL;
}

void use_heap(const char *placed)
{
	PyObjectArenaAllocator arenas = { NULL, arena_alloc, arena_free };
	PyMemAllocatorEx objects = { NULL, object_malloc, object_calloc, object_realloc, object_free };

	if (placed != NULL) {
		size_t size;
		places = map_file(placed, &size);
		heap_used = places == NULL ? HEAP_SIZE : places[size / sizeof(*places) - 1].offset;
	}
	PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &pymalloc);
	PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &objects);
	PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &objects);
	PyObject_SetArenaAllocator(&arenas);
}
