"""Docker's default filter of system calls, as data of our own.

What is not listed is refused with EPERM. The profile has the form that Docker's profiles have, so
that the default one and a user's own go the same way (`seccomp_profile`). Its calls are those of
Docker's present profile; which of them depend on a capability, an architecture, the kernel or an
argument is as there. Of the socket families AF_ALG and AF_VSOCK are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sampan.engine.runtime.core.seccomp_profile import resolve

__all__ = ["ALWAYS", "default_profile", "docker_profile"]

ALWAYS: Final = (
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset "
    "chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 "
    "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range "
    "connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl "
    "epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve "
    "execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate "
    "fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 "
    "fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 "
    "fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait "
    "futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents "
    "getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
    "getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid "
    "getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid "
    "gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init "
    "inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents "
    "io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill "
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr "
    "link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr "
    "lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir "
    "mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify "
    "mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink "
    "mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at "
    "nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 "
    "pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 "
    "prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read "
    "readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg "
    "remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall "
    "riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
    "sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
    "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp "
    "select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg "
    "sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 "
    "setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority "
    "setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 "
    "setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget "
    "shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice "
    "stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs "
    "sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime "
    "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime "
    "timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 "
    "ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes "
    "vfork vmsplice wait4 waitid waitpid write writev"
).split()
"""Allowed whatever the arguments and capabilities."""

_SINCE_4_8: Final = "process_vm_readv process_vm_writev ptrace".split()
"""Before that kernel, ptrace was a way around every filter."""

_BY_ARCHITECTURE: Final = (
    ("sync_file_range2 swapcontext", "ppc64le"),
    (
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        "arm arm64",
    ),
    ("arch_prctl", "amd64 x32"),
    ("modify_ldt", "amd64 x32 x86"),
    ("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", "s390 s390x"),
    ("riscv_flush_icache", "riscv64"),
)
_BY_CAPABILITY: Final[Mapping[str, str]] = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
        "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
        "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog "
        "umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": (
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
    ),
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}
_SUB_ARCHITECTURES: Final = (
    ("X86_64", "X86 X32"),
    ("AARCH64", "ARM"),
    ("MIPS64", "MIPS MIPS64N32"),
    ("MIPS64N32", "MIPS MIPS64"),
    ("MIPSEL64", "MIPSEL MIPSEL64N32"),
    ("MIPSEL64N32", "MIPSEL MIPSEL64"),
    ("S390X", "S390"),
    ("RISCV64", ""),
    ("LOONGARCH64", ""),
)
_AF_ALG, _AF_NFC, _AF_VSOCK = 38, 39, 40
_FAMILIES: Final = (("LT", _AF_ALG), ("EQ", _AF_NFC), ("GT", _AF_VSOCK))
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACE_FLAGS: Final = 0x7E020000
_ENOSYS: Final = 38
_NOT_ADMIN: Final = {"caps": ["CAP_SYS_ADMIN"]}


@cache
def docker_profile() -> Mapping[str, Any]:
    """Return the policy in the form of Docker's profiles: 33 rules with their conditions."""
    rules: list[dict[str, Any]] = [
        _rule(ALWAYS),
        _rule(_SINCE_4_8, includes={"minKernel": "4.8"}),
        *(_rule(["socket"], (0, operator, family)) for operator, family in _FAMILIES),
        *(_rule(["personality"], (0, "EQ", number)) for number in _PERSONALITIES),
    ]
    for names, architectures in _BY_ARCHITECTURE:
        rules.append(_rule(names.split(), includes={"arches": architectures.split()}))
    for capability, names in _BY_CAPABILITY.items():
        rules.append(_rule(names.split(), includes={"caps": [capability]}))
        if capability == "CAP_SYS_ADMIN":
            rules += _clones()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {
                "architecture": f"SCMP_ARCH_{one}",
                "subArchitectures": [f"SCMP_ARCH_{sub}" for sub in subs.split()],
            }
            for one, subs in _SUB_ARCHITECTURES
        ],
        "syscalls": rules,
    }


def _clones() -> list[dict[str, Any]]:
    """Return the rules for making processes without making namespaces."""
    mainframes = ["s390", "s390x"]
    no_namespaces = (0, "MASKED_EQ", _NAMESPACE_FLAGS)
    return [
        _rule(["clone"], no_namespaces, excludes={**_NOT_ADMIN, "arches": mainframes}),
        # There the flags are the second argument.
        _rule(
            ["clone"],
            (1, *no_namespaces[1:]),
            includes={"arches": mainframes},
            excludes=_NOT_ADMIN,
        ),
        # The flags of clone3 are in memory, where a filter cannot look: callers fall back to clone.
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _ENOSYS,
            "excludes": _NOT_ADMIN,
        },
    ]


def _rule(
    names: Sequence[str],
    argument: tuple[int, str, int] | None = None,
    **conditions: Mapping[str, Any],
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW", **conditions}
    if argument is not None:
        index, operator, value = argument
        rule["args"] = [{"index": index, "value": value, "op": f"SCMP_CMP_{operator}"}]
    return rule


def default_profile(
    capabilities: Sequence[str], architecture: str, kernel: tuple[int, int] = (5, 10)
) -> dict[str, Any] | None:
    """Return the OCI `seccomp` section for a container with these capabilities.

    `architecture` is Go's word, amd64 or arm64; None for one that no numbers are known of. `kernel`
    is the running kernel's version.
    """
    if architecture not in ("amd64", "arm64"):
        return None
    return resolve(docker_profile(), capabilities, architecture, kernel)
