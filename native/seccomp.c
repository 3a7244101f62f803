/*
 * libseccomp for Python: names to its numbers, and a filter from rules to BPF.
 *
 * Functions that return int give 0, or a negative errno.
 */
#include <errno.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "seccomp.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* The library in use, major << 16 | minor << 8 | micro. */
unsigned int filter_version(void)
{
	const struct scmp_version *version = seccomp_version();

	return version == NULL ? 0 : version->major << 16 | version->minor << 8 | version->micro;
}

/* "SCMP_ACT_..." of the specification; data is the errno or the tracer's message of those that have one. */
int filter_action(const char *name, unsigned int data, unsigned int *action)
{
	const struct {
		const char *name;
		uint32_t action;
	} actions[] = {
		{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
		{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
		{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
		{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
		{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(data) },
		{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(data) },
		{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
		{ "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
		{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	};
	size_t i;

	for (i = 0; i < LENGTH(actions); i++) {
		if (strcmp(actions[i].name, name) == 0) {
			*action = actions[i].action;
			return 0;
		}
	}
	return -EINVAL;
}

/* "SCMP_CMP_...": enum scmp_compare, or -EINVAL. */
int filter_compare(const char *name)
{
	static const struct {
		const char *name;
		enum scmp_compare compare;
	} compares[] = {
		{ "SCMP_CMP_NE", SCMP_CMP_NE },		{ "SCMP_CMP_LT", SCMP_CMP_LT },
		{ "SCMP_CMP_LE", SCMP_CMP_LE },		{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
		{ "SCMP_CMP_GE", SCMP_CMP_GE },		{ "SCMP_CMP_GT", SCMP_CMP_GT },
		{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	};
	size_t i;

	for (i = 0; i < LENGTH(compares); i++)
		if (strcmp(compares[i].name, name) == 0)
			return (int)compares[i].compare;
	return -EINVAL;
}

/* libseccomp's token for "x86_64", "aarch64" ...; "" is the architecture this was built for. 0: unknown. */
unsigned int filter_arch(const char *name)
{
	return name[0] == '\0' ? seccomp_arch_native() : seccomp_arch_resolve_name(name);
}

/* What seccomp_data.arch has for the token: the same, but for x32, which differs from x86_64 by a bit of the number. */
unsigned int filter_audit_arch(unsigned int arch)
{
	return arch == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : arch;
}

/* The number of a system call; negative ones stand for calls that the architecture lacks, and -EINVAL is returned for
 * names that the library does not know. */
int filter_syscall(unsigned int arch, const char *name, int *number)
{
	*number = seccomp_syscall_resolve_name_arch(arch, name);
	return *number == __NR_SCMP_ERROR ? -EINVAL : 0;
}

/* A filter for the native architecture, without rules; NULL: no memory, or an action that cannot be the default one. */
void *filter_new(unsigned int default_action, int binary_tree)
{
	scmp_filter_ctx filter = seccomp_init(default_action);

	/* A tree over the numbers (libseccomp 2.5) is a tenth of the steps for a long list; an older one does without. */
	if (filter != NULL && binary_tree)
		(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return filter;
}

int filter_add_arch(void *filter, unsigned int arch)
{
	int error = seccomp_arch_add(filter, arch);

	return error == -EEXIST ? 0 : error;
}

/* One rule with conditions that must all be met: arguments[i] compares[i] first[i] (, second[i]). */
int filter_add_rule(void *filter, unsigned int action, int number, unsigned int count, const unsigned int *arguments, const int *compares, const unsigned long long *first, const unsigned long long *second)
{
	struct scmp_arg_cmp conditions[6];
	unsigned int i;

	if (count > LENGTH(conditions))
		return -EINVAL;
	for (i = 0; i < count; i++) {
		conditions[i].arg = arguments[i];
		conditions[i].op = (enum scmp_compare)compares[i];
		conditions[i].datum_a = first[i];
		conditions[i].datum_b = second[i];
	}
	return seccomp_rule_add_array(filter, action, number, count, conditions);
}

/* Write struct sock_filter[] to the descriptor. */
int filter_export(void *filter, int fd)
{
	return seccomp_export_bpf(filter, fd);
}

void filter_free(void *filter)
{
	seccomp_release(filter);
}
