"""Docker's default filter of system calls, as data of our own.

What is not listed is refused with EPERM. The calls are those of Docker 28's profile; which of them
depend on a capability, an architecture or an argument is as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["ALWAYS", "default_profile"]

ALWAYS: Final = (
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset "
    "chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 "
    "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range "
    "connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl "
    "epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve "
    "execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark "
    "fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr "
    "flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync "
    "ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake "
    "futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid "
    "getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername "
    "getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid "
    "getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid "
    "getuid32 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel "
    "io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl "
    "ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset "
    "landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr "
    "lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create "
    "memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect "
    "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall "
    "munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open "
    "pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 "
    "prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 "
    "pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 "
    "restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget "
    "semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto "
    "set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 "
    "setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 "
    "setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt "
    "setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statx symlink "
    "symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate "
    "truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes "
    "vfork vmsplice wait4 waitid waitpid write writev"
).split()
"""Allowed whatever the arguments and capabilities."""

_BY_KERNEL: Final = "process_vm_readv process_vm_writev ptrace".split()
"""Allowed since kernel 4.8, which every supported kernel is newer than."""

_BY_CAPABILITY: Final[Mapping[str, Sequence[str]]] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at".split(),
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
        "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
        "sethostname setns syslog umount umount2 unshare"
    ).split(),
    "CAP_SYS_BOOT": "reboot".split(),
    "CAP_SYS_CHROOT": "chroot".split(),
    "CAP_SYS_MODULE": "delete_module finit_module init_module".split(),
    "CAP_SYS_PACCT": "acct".split(),
    "CAP_SYS_PTRACE": (
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
    ).split(),
    "CAP_SYS_RAWIO": "ioperm iopl".split(),
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime".split(),
    "CAP_SYS_TTY_CONFIG": "vhangup".split(),
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node".split(),
    "CAP_SYSLOG": "syslog".split(),
    "CAP_BPF": "bpf".split(),
    "CAP_PERFMON": "perf_event_open".split(),
}
_BY_ARCHITECTURE: Final[Mapping[str, Sequence[str]]] = {
    "amd64": "arch_prctl modify_ldt".split(),
    "arm64": (
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
    ).split(),
}
_SUB_ARCHITECTURES: Final[Mapping[str, Sequence[str]]] = {
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACE_FLAGS: Final = 0x7E020000
_AF_VSOCK: Final = 40
_ENOSYS: Final = 38


def default_profile(capabilities: Sequence[str], architecture: str) -> dict[str, Any] | None:
    """Return the OCI `seccomp` section for a container with these capabilities.

    `architecture` is Go's word, amd64 or arm64; None for one that no numbers are known of.
    """
    if architecture not in _SUB_ARCHITECTURES:
        return None
    names = [*ALWAYS, *_BY_KERNEL, *_BY_ARCHITECTURE[architecture]]
    for capability in capabilities:
        names += _BY_CAPABILITY.get(capability, ())
    rules: list[dict[str, Any]] = [
        {"names": names, "action": "SCMP_ACT_ALLOW"},
        _rule("socket", _AF_VSOCK, "SCMP_CMP_NE"),
        *(_rule("personality", number, "SCMP_CMP_EQ") for number in _PERSONALITIES),
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_rule("clone", _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"))
        # The flags of clone3 are in memory, where a filter cannot look: callers fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": list(_SUB_ARCHITECTURES[architecture]),
        "syscalls": rules,
    }


def _rule(name: str, value: int, operator: str) -> dict[str, Any]:
    argument = {"index": 0, "value": value, "valueTwo": 0, "op": operator}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}
