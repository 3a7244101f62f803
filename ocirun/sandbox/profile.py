"""The seccomp profile of `run`: what ordinary programs call, by what it is for.

A list of what is allowed, as calls that the kernel will have are better unknown than reached. Not in it: the kernel's
code and clocks, mounts and namespaces, other processes' memory (ptrace(2) of one's own is), keyrings, bpf(2),
io_uring(7), userfaultfd(2), and the sockets of families that few need and many have had holes: AF_ALG above all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CALLS = {
    "files": """access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
        faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
        fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
        fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
        inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat
        llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat open openat
        openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
        removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs
        statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
        utimensat utimensat_time64 utimes vmsplice write writev""",
    "memory": """brk cachestat madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mmap2
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages shmat
        shmctl shmdt shmget""",
    "processes and threads": """arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue
        futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 geteuid
        geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32
        getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill
        landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt nice pidfd_open pidfd_send_signal
        prctl prlimit64 process_mrelease restart_syscall rseq sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
        setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
        setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit uname vfork wait4
        waitid waitpid""",
    "signals and time": """alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
        clock_nanosleep_time64 getitimer gettimeofday nanosleep pause rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer
        sigaltstack signalfd signalfd4 sigreturn time timer_create timer_delete timer_getoverrun timer_gettime
        timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
        timerfd_settime64""",
    "waiting": """epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 io_cancel
        io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64
        pselect6 pselect6_time64 select""",
    "other processes": """accept accept4 bind connect getpeername getrandom getsockname getsockopt listen mq_getsetattr
        mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
        msgget msgrcv msgsnd pipe pipe2 ptrace recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop
        semtimedop_time64 sendmmsg sendmsg sendto setsockopt shutdown socketpair""",
}
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* of clone(2)
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bits, uname 2.6, and the question which it is
_EPERM, _ENOSYS = 1, 38


def profile() -> dict[str, Any]:
    """As linux.seccomp."""
    names = sorted(" ".join(_CALLS.values()).split())
    syscalls = [
        {"names": names, "action": "SCMP_ACT_ALLOW"},
        *[_when("socket", family, "SCMP_CMP_EQ") for family in _FAMILIES],
        *[_when("personality", number, "SCMP_CMP_EQ") for number in _PERSONALITIES],
        _when("clone", _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0),
        # Its flags are in memory, where no filter sees them: libraries then take clone(2).
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    ]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _EPERM, "syscalls": syscalls}


def _when(name: str, value: int, operator: str, second: int | None = None) -> dict[str, Any]:
    condition: dict[str, Any] = {"index": 0, "value": value, "op": operator}
    if second is not None:
        condition["valueTwo"] = second
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition]}
