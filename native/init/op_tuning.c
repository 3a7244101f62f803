/* What few processes have: CPUs, scheduling and I/O priority, a memory policy, a personality. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/ioprio.h>
#include <linux/sched/types.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

int op_affinity(struct init *init, const struct op_affinity *op)
{
	/* The kernel ignores CPUs that it has not got, and refuses a mask without one that it has and the cpuset allows. */
	const void *cpus = plan_blob(&init->plan, op->cpus);

	return syscall(SYS_sched_setaffinity, 0, op->cpus.length, cpus) < 0 ? -errno : 0;
}

int op_scheduler(struct init *init, const struct op_scheduler *op)
{
	struct sched_attr attr;

	(void)init;
	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.sched_policy = op->policy;
	attr.sched_nice = op->nice;
	attr.sched_priority = op->priority;
	attr.sched_flags = op->flags;
	attr.sched_runtime = op->runtime;
	attr.sched_deadline = op->deadline;
	attr.sched_period = op->period;
	return syscall(SYS_sched_setattr, 0, &attr, 0u) < 0 ? -errno : 0;
}

int op_io_priority(struct init *init, const struct op_io_priority *op)
{
	const unsigned int value = op->level << IOPRIO_CLASS_SHIFT | op->priority;

	(void)init;
	return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) < 0 ? -errno : 0;
}

int op_memory_policy(struct init *init, const struct op_memory_policy *op)
{
	/* The kernel takes one bit less than it is told (set_mempolicy(2)). */
	const unsigned long bits = op->nodes.length * 8ul;
	const void *nodes = bits > 0 ? plan_blob(&init->plan, op->nodes) : NULL;

	return syscall(SYS_set_mempolicy, (int)op->mode, nodes, bits > 0 ? bits + 1 : 0) < 0 ? -errno : 0;
}

int op_personality(struct init *init, const struct op_personality *op)
{
	(void)init;
	return syscall(SYS_personality, (unsigned long)op->persona) < 0 ? -errno : 0;
}
