int sys_bpf_prog_load(const void *instructions, unsigned int count, char *log, unsigned int log_size);
int sys_bpf_attach_device(int cgroup, int program, unsigned int flags);
int sys_subreaper(void);
int sys_take_descriptor(int process, int descriptor);
int sys_spawn_hook(const char *path, char **argv, char **envp, const char *directory, int input, int output);
int sys_route_socket(int network);
int sys_sched_setattr(int pid, unsigned int policy, int nice, unsigned int priority, unsigned long long flags,
		      unsigned long long runtime, unsigned long long deadline, unsigned long long period);
int sys_ioprio_set(int pid, unsigned int level, unsigned int priority);
int sys_wait_process(int pidfd, long long *result);
