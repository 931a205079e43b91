"""The Linux calls that shut a process in: namespaces, Landlock, seccomp, limits. ctypes only, no root needed.

`enter(tier, ...)` shuts the worker in once and hands back a `Cage`; its `clone` and `shut` do the rest per sample.
Every call raises OSError with the name of what was refused. x86-64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# PyDLL keeps the GIL: `clone` returns twice, and the child must still hold it.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_ARCH = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
_AUDIT_ARCH = (0xC000003E, 0xC00000B7)

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_THREAD, _CHILD_SETTID, _CHILD_CLEARTID = 0x10000, 0x1000000, 0x200000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_GET_TID_ADDRESS = 1, 4, 22, 38, 40

# Landlock access rights, in the order of their bits (linux/landlock.h).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FS_BITS_BY_ABI = (0, 13, 14, 15, 15, 16)

# fmt: off
# name: (x86-64, aarch64); -1 where the architecture has no such call
_NR: dict[str, tuple[int, int]] = {
    # a sample is one process: with fork it could pass any per-process limit
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "clone": (56, 220),
    "clone3": (435, 435),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kcmp": (312, 272), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "get_robust_list": (274, 100), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setparam": (142, 118), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "prlimit64": (302, 261), "prctl": (157, 167), "fcntl": (72, 25), "ioctl": (16, 29),
    # large kernel surface nothing here needs
    "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "personality": (135, 92), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "mknod": (133, -1),
    "mknodat": (259, 33), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "iopl": (172, -1),
    "ioperm": (173, -1), "modify_ldt": (154, -1), "uselib": (134, -1), "nfsservctl": (180, 42),
    # network (socketpair stays: asyncio needs it)
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "connect": (42, 203),
    # memory that RLIMIT_AS does not see
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
    # file metadata, which Landlock leaves open
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
    # writing by name, denied where nothing else guards files
    "open": (2, -1), "openat": (257, 56), "openat2": (437, 437), "creat": (85, -1), "unlink": (87, -1),
    "unlinkat": (263, 35), "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, -1),
    "linkat": (265, 37), "symlink": (88, -1), "symlinkat": (266, 36), "mkdir": (83, -1), "mkdirat": (258, 34),
    "rmdir": (84, -1),
    # used by this module itself
    "getpid": (39, 172), "capset": (126, 91),
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
}
# fmt: on
_OWN_USE = ("getpid", "capset", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
_CONDITIONAL = ("clone", "clone3", "kill", "tkill", "tgkill", "prlimit64", "prctl", "fcntl", "ioctl", "open", "openat")
_METADATA = tuple(list(_NR)[list(_NR).index("chmod") : list(_NR).index("open")])
_BY_NAME = tuple(list(_NR)[list(_NR).index("open") : list(_NR).index("getpid")])


def _syscall(name: str, *args: object) -> int:
    if _ARCH is None:
        raise OSError(errno.ENOSYS, f"no system call table for {platform.machine()}")
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = int(_LIBC.syscall(ctypes.c_long(_NR[name][_ARCH]), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: object, name: str) -> None:
    arg = ctypes.c_ulong(value) if isinstance(value, int) else value
    zero = ctypes.c_ulong(0)
    if option == _PR_SET_SECCOMP:
        done = _LIBC.prctl(option, ctypes.c_ulong(2), arg, zero, zero)
    else:
        done = _LIBC.prctl(option, arg, zero, zero, zero)
    if done:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_bytes = kind.encode() if kind else None
    data = options.encode() or None
    _syscall(
        "mount", ctypes.c_char_p(source.encode()), ctypes.c_char_p(target.encode()), ctypes.c_char_p(kind_bytes),
        flags, ctypes.c_char_p(data),
    )  # fmt: skip


def _mount_attributes(path: str, attributes: int, recursive: bool = True) -> None:
    """Add mount attributes at (and below) `path`; unlike a remount this keeps what a user namespace locked."""
    at_fdcwd, flags = -100, 0x8000 if recursive else 0
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    _syscall("mount_setattr", at_fdcwd, ctypes.c_char_p(path.encode()), flags, ctypes.c_char_p(wanted), 32)


# --- seccomp -----------------------------------------------------------------------------------------------------


def _stop(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value & 0xFFFFFFFF)


_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL = _stop(_RETURN, 0x7FFF0000), _stop(_RETURN, 0x80000000)
_OWN_PID = 0xFEDCBA98  # stands for the sample's own pid until `seccomp_filter` knows it


def _refuse(code: int = errno.EPERM) -> bytes:
    return _stop(_RETURN, 0x00050000 | code)


def _when(name: str, arg: int, tests: Iterable[bytes]) -> bytes:
    """Instructions that apply `tests` to the low word of argument `arg` of one system call, then go on."""
    body = _stop(_LOAD, 16 + 8 * arg) + b"".join(tests) + _stop(_LOAD, 0)
    return _stop(_EQUAL, _number(name), 0, len(body) // 8) + body


def _number(name: str) -> int:
    assert _ARCH is not None
    return _NR[name][_ARCH]


def _refuse_if(values: Iterable[int]) -> list[bytes]:
    return [_stop(_EQUAL, v, 0, 1) + _refuse() for v in values]


def _refuse_unless(value: int) -> list[bytes]:
    return [_stop(_EQUAL, value, 1, 0) + _refuse()]


def _filter_template(denied: Iterable[str], no_writing: bool) -> bytes:
    """The cBPF program: kill on a foreign architecture, refuse the deny list, allow the rest."""
    assert _ARCH is not None
    new_namespaces = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | 0x02000080
    program = _stop(_LOAD, 4) + _stop(_EQUAL, _AUDIT_ARCH[_ARCH], 1, 0) + _KILL + _stop(_LOAD, 0)
    if _ARCH == 0:
        program += _stop(_AT_LEAST, 0x40000000, 0, 1) + _KILL  # the x32 calls
    for name in denied:
        if _number(name) >= 0:
            program += _stop(_EQUAL, _number(name), 0, 1) + _refuse()
    # ENOSYS makes glibc fall back to clone, whose flags a filter can read
    program += _stop(_EQUAL, _number("clone3"), 0, 1) + _refuse(errno.ENOSYS)
    program += _when(
        "clone", 0, [_stop(_ANY_BIT, _THREAD, 1, 0) + _refuse(), _stop(_ANY_BIT, new_namespaces, 0, 1) + _refuse()]
    )
    for name in ("kill", "tkill", "tgkill"):
        program += _when(name, 0, _refuse_unless(_OWN_PID))
    program += _when("prlimit64", 0, _refuse_unless(0))
    program += _when("prctl", 0, _refuse_if([_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE]))
    program += _when("fcntl", 1, _refuse_if([8, 10, 15]))  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by proxy
    program += _when("ioctl", 1, _refuse_if([0x8901, 0x8902, 0x5412, 0x541C]))  # FIOSETOWN, SIOCSPGRP, TIOCSTI/LINUX
    if no_writing:
        creating = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        for name, arg in (("open", 1), ("openat", 2)):
            if _number(name) >= 0:
                program += _when(name, arg, [_stop(_ANY_BIT, creating, 0, 1) + _refuse()])
    return program + _ALLOW


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


# --- Landlock ----------------------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """The Landlock version of the running kernel; 0 where it has none or it is off."""
    try:
        return _syscall("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def _landlock(abi: int, rules: Sequence[tuple[int, int]]) -> None:
    """Allow this process only `rules` (an open path, the rights below it), no TCP, no signals or sockets to outside."""
    handled = (1 << _FS_BITS_BY_ABI[min(abi, 5)]) - 1
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = struct.pack("QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)[:size]
    ruleset = _syscall("landlock_create_ruleset", ctypes.c_char_p(attributes), size, 0)
    for path_fd, rights in rules:
        _syscall("landlock_add_rule", ruleset, 1, ctypes.c_char_p(struct.pack("=Qi", rights & handled, path_fd)), 0)
    _syscall("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


# --- the cage ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cage:
    """What a worker has prepared for its samples."""

    tier: str
    abi: int  # Landlock version; 0: none
    null: int  # an open /dev/null
    proc: int  # an open /proc of the worker's pid namespace; -1 where no id map is written
    cap_processes: bool  # whether RLIMIT_NPROC counts this sample alone
    paths: tuple[tuple[int, int], ...]  # Landlock rules: open path, rights
    filter: bytes  # seccomp program
    uid: int = field(default_factory=os.geteuid)  # asked before the clone: inside, no id is mapped yet
    gid: int = field(default_factory=os.getegid)
    _tid: int = field(default_factory=lambda: _thread_id_address())

    @property
    def namespaces(self) -> bool:
        return self.tier.startswith("T1")

    def clone(self) -> int:
        """Fork, in T1 into fresh user, pid, mount and IPC namespaces. Returns the child's pid, and 0 in the child."""
        if not self.namespaces:
            return os.fork()
        # Not os.fork after unshare: that needs a second fork for the pid namespace and would nest the worker's own.
        flags = NEWUSER | NEWPID | NEWNS | NEWIPC | signal.SIGCHLD
        if self._tid:  # keep glibc's cached thread id right in the child, as its own fork does
            flags |= _CHILD_SETTID | _CHILD_CLEARTID
        ctypes.pythonapi.PyOS_BeforeFork()
        tail = (self._tid, 0) if _ARCH == 0 else (0, self._tid)
        try:
            pid = _syscall("clone", flags, 0, 0, *tail)
        except OSError:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
            raise
        (ctypes.pythonapi.PyOS_AfterFork_Parent if pid else ctypes.pythonapi.PyOS_AfterFork_Child)()
        return pid

    def shut(self, channel: int, cpu_s: int, memory_bytes: int) -> int:
        """Give up everything but `channel`, which becomes the descriptor returned. Irrevocable; call in the child."""
        os.setsid()  # a pid namespace does not cut process groups
        paths = list(self.paths)
        if self.namespaces:
            _map_ids(self.proc, self.uid, self.gid, 1000)
            _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=64m,nr_inodes=4096,mode=700")
            os.chdir("/tmp")
            paths += [(os.open("/", os.O_PATH), _READ), (os.open("/tmp", os.O_PATH), (1 << 16) - 1)]
        else:
            os.chdir("/")
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
        if self.abi:
            _landlock(self.abi, paths)
        for target in (0, 1, 2):
            os.dup2(self.null, target)
        os.dup2(channel, 3)
        os.closerange(4, 65536)
        _limit(cpu_s, memory_bytes, self.cap_processes)
        _drop_capabilities()
        _prctl(_PR_SET_DUMPABLE, 0, "not dumpable")
        die_with_parent()
        own = self.filter.replace(struct.pack("I", _OWN_PID), struct.pack("I", os.getpid()))
        program = _SockFprog(len(own) // 8, own)
        _prctl(_PR_SET_SECCOMP, ctypes.byref(program), "seccomp")
        return 3


def enter(tier: str, read_only: Sequence[str]) -> Cage:
    """Shut the worker itself in for `tier` ("T1", "T2", "T3"); samples may read below `read_only` and nowhere else.

    As root it becomes an unused user first or on the way. Raises OSError naming the first thing that was refused.
    """
    abi = landlock_abi()
    filters = {"T1": _seccomp(), "T2": _seccomp(*_METADATA), "T3": _seccomp(*_METADATA, *_BY_NAME, no_writing=True)}
    if tier == "T1":
        proc = os.open("/proc", os.O_PATH)
        _enter_namespaces(read_only)
        name = "T1 namespaces+seccomp" + ("+landlock" if abi else "")
        devices = tuple((os.open(p, os.O_PATH), _WRITE_FILE | _READ_FILE) for p in _DEVICES)
        return Cage(name, abi, _open_null(), proc, True, devices, filters["T1"])
    rules = [(os.open(p, os.O_PATH), _READ) for p in read_only]
    rules += [(os.open(p, os.O_PATH), _WRITE_FILE | _READ_FILE) for p in _DEVICES]
    null = _open_null()
    if tier == "T2":
        if not abi:
            raise OSError(errno.EOPNOTSUPP, "Landlock: not in this kernel, or switched off")
        return Cage("T2 landlock+seccomp", abi, null, -1, _become_nobody(), tuple(rules), filters["T2"])
    return Cage("T3 rlimits+seccomp", 0, null, -1, _become_nobody(), (), filters["T3"])


_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def _open_null() -> int:
    return os.open("/dev/null", os.O_RDWR)


def _seccomp(*more: str, no_writing: bool = False) -> bytes:
    if _ARCH is None:
        raise OSError(errno.ENOSYS, f"seccomp: no system call table for {platform.machine()}")
    skip = {*_OWN_USE, *_CONDITIONAL, *_METADATA, *_BY_NAME}
    denied = [n for n in _NR if n not in skip] + [n for n in more if n not in _CONDITIONAL]
    return _filter_template(denied, no_writing)


def _enter_namespaces(read_only: Sequence[str]) -> None:
    """A root that holds only `read_only`, three devices and an empty /tmp; no network; no longer root."""
    uid, gid = os.geteuid(), os.getegid()
    private = NEWNS | NEWNET | NEWIPC | NEWUTS
    as_root = False
    if uid == 0:
        try:
            _unshare(private)
            as_root = True
        except PermissionError:  # root without CAP_SYS_ADMIN: go on as anybody else would
            _become_nobody()
            uid, gid = os.geteuid(), os.getegid()
    if not as_root:
        proc = os.open("/proc", os.O_PATH)
        _unshare(private | NEWUSER)
        _map_ids(proc, uid, gid, uid)
        os.close(proc)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _build_root("/proc", read_only)
    if as_root:
        _become_nobody()


def _unshare(flags: int) -> None:
    try:
        _syscall("unshare", flags)
    except OSError as e:
        kind = "user namespaces" if flags & NEWUSER else "namespaces"
        raise type(e)(e.errno, f"{kind}: {e.strerror}") from e


def _map_ids(proc: int, uid: int, gid: int, inside: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        try:
            fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
            os.write(fd, text.encode())
            os.close(fd)
        except OSError as e:
            raise type(e)(e.errno, f"{name} of the new user namespace: {e.strerror}") from e


def _build_root(staging: str, read_only: Sequence[str]) -> None:
    """Make the new root over `staging` (no source may lie below it) and pivot into it."""
    _mount("tmpfs", staging, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for source in map(Path, (*read_only, *_DEVICES)):
        target = Path(staging + str(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():  # /lib, where it is a link to usr/lib
            target.symlink_to(source.readlink())
            continue
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        _mount(str(source), str(target), None, _MS_BIND | _MS_REC)
        device = str(source) in _DEVICES
        _mount_attributes(str(target), _ATTR_NOSUID | (0 if device else _ATTR_NODEV | _ATTR_RDONLY))
    Path(staging + "/tmp").mkdir(exist_ok=True)
    os.chdir(staging)
    _syscall("pivot_root", ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    _syscall("umount2", ctypes.c_char_p(b"."), 2)  # MNT_DETACH: the old root, which lies over the new one
    os.chdir("/")
    _mount_attributes("/", _ATTR_RDONLY, recursive=False)  # the devices stay writable


def _become_nobody() -> bool:
    """As root, become a user nobody else is; False where the process was no real root. Raises OSError if it cannot.

    RLIMIT_NPROC does not count for kernel uid 0, and files of root would be open to the sample.
    """
    if os.geteuid() != 0:
        return False
    uid = 60578 + os.getpid() % 600  # a range that distributions and systemd leave alone
    try:
        os.setresgid(uid, uid, uid)
    except OSError as e:
        if e.errno == errno.EINVAL:  # the uid is not mapped here: "root" of somebody's user namespace
            return False
        raise type(e)(e.errno, f"running as root, and cannot become another user: {e.strerror}") from e
    os.setgroups([])
    os.setresuid(uid, uid, uid)
    _prctl(_PR_SET_DUMPABLE, 1, "dumpable")  # else /proc/self/uid_map belongs to root
    return True


def _drop_capabilities() -> None:
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _syscall("capset", ctypes.c_char_p(header), ctypes.c_char_p(none))


def _limit(cpu_s: int, memory_bytes: int, cap_processes: bool) -> None:
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_FSIZE: 64 << 20,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: 8 << 20,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if cap_processes:
        limits[resource.RLIMIT_NPROC] = 64
    _set_limits(limits)


def limit_driver(cpu_s: int, memory_bytes: int) -> None:
    """Bounds for the trusted half of a sample: a candidate's reply is data, and data can be a bomb."""
    _set_limits(
        {
            resource.RLIMIT_CPU: cpu_s,
            resource.RLIMIT_AS: memory_bytes,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: 0,
        }
    )


def _set_limits(limits: dict[int, int]) -> None:
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), "parent death signal")


def _thread_id_address() -> int:
    """Where glibc caches this thread's id; 0 where the kernel does not tell."""
    address = ctypes.c_ulong(0)
    try:
        _prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), "tid address")
    except OSError:
        return 0
    return int(address.value)
