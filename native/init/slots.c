/* The table of descriptors that the operations of a plan fill and use. */
#include <errno.h>
#include <unistd.h>

#include "init.h"

int slot_fd(struct init *init, uint32_t slot)
{
	if (slot < init->plan.header->slot_count && init->slots[slot] >= 0)
		return init->slots[slot];
	say(init, "slot %u is empty", slot);
	return -EBADF;
}

int slot_fill(struct init *init, uint32_t slot, int fd)
{
	if (slot < init->plan.header->slot_count && init->slots[slot] < 0) {
		init->slots[slot] = fd;
		return 0;
	}
	say(init, "slot %u is taken", slot);
	close(fd);
	return -EBADF;
}

void slot_close(struct init *init, uint32_t slot)
{
	if (slot >= init->plan.header->slot_count || init->slots[slot] < 0)
		return;
	close(init->slots[slot]);
	init->slots[slot] = -1;
}

/* A pidfd may be joined in several records, and mounts may be mapped by a namespace that is joined afterwards. */
bool slot_needed(const struct init *init, uint32_t slot)
{
	const struct record *record = init->record;

	while ((record = plan_next(&init->plan, record)) != NULL) {
		const struct op_setns *joining = (const void *)(record + 1);
		const struct op_idmap *mapping = (const void *)(record + 1);

		if ((record->kind == OP_setns && joining->slot == slot) ||
		    (record->kind == OP_idmap && mapping->namespace_slot == slot))
			return true;
	}
	return false;
}
