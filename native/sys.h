int sys_bpf_prog_load(const void *instructions, unsigned int count, char *log, unsigned int log_size);
int sys_bpf_attach_device(int cgroup, int program, unsigned int flags);
int sys_subreaper(void);
int sys_route_socket(int network);
