int sys_program(int source, const char *directory, int first_rung, int *rung);
int sys_spawn(int program, char *const argv[], char *const envp[], const int *stdio, int base, const int *descriptors, int count, int *pidfd);
int sys_bpf_prog_load(const void *instructions, unsigned int count, char *log, unsigned int log_size);
int sys_bpf_attach_device(int cgroup, int program, unsigned int flags);
int sys_subreaper(void);
