"""The Linux calls that isolate a process: namespaces, Landlock, seccomp, limits. ctypes only, no root needed.

`enter(tier, ...)` isolates the worker once and returns a `Cage`; its `clone` and `shut` isolate each sample.
Every call raises OSError that names the refused call. x86-64 and aarch64.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import struct
import time
from collections.abc import Iterable, Sequence

# PyDLL keeps the GIL: `clone` returns twice, and the child must still hold it.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_ARCH = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)
_AUDIT_ARCH = (0xC000003E, 0xC00000B7)

SIGKILL, _SIGCHLD = 9, 17  # the `signal` module is large
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_THREAD, _CHILD_SETTID, _CHILD_CLEARTID = 0x10000, 0x1000000, 0x200000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_GET_TID_ADDRESS = 1, 4, 22, 38, 40

# Landlock access rights, in the order of their bits (linux/landlock.h).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FS_BITS_BY_ABI = (0, 13, 14, 15, 15, 16)

# fmt: off
# name: (x86-64, aarch64); -1 if the architecture has no such call
_NR: dict[str, tuple[int, int]] = {
    # a sample is one process: with fork it could exceed any per-process limit
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
    # large kernel interfaces that nothing here needs
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
    # memory that RLIMIT_AS does not count
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "shmat": (30, 196), "shmctl": (31, 195), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_unlink": (241, 181),
    # not covered by Landlock: watching folders, datagrams to a name, descriptors in flight (counted by user)
    "inotify_add_watch": (254, 27), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # file metadata, not covered by Landlock
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
    # writing by name, denied if nothing else protects files
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
_WORKERS_OWN = (
    "fork", "vfork", "mount", "umount2", "memfd_create", "sendmsg", "sendmmsg",
    "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
)  # fmt: skip
_CONDITIONAL = (
    "sendto",
    "clone",
    "clone3",
    "kill",
    "tkill",
    "tgkill",
    "prlimit64",
    "prctl",
    "fcntl",
    "ioctl",
    "open",
    "openat",
)
_METADATA = tuple(list(_NR)[list(_NR).index("chmod") : list(_NR).index("open")])
_BY_NAME = tuple(list(_NR)[list(_NR).index("open") : list(_NR).index("getpid")])


def _call(name: str, *args: object) -> tuple[object, ...]:
    """A system call's number and arguments, ready for `_do`."""
    if _ARCH is None:
        raise OSError(errno.ENOSYS, f"no system call table for {os.uname().machine}")
    return tuple(ctypes.c_long(a) if isinstance(a, int) else a for a in (_NR[name][_ARCH], *args))


def _do(name: str, call: tuple[object, ...]) -> int:
    result = int(_LIBC.syscall(*call))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _syscall(name: str, *args: object) -> int:
    return _do(name, _call(name, *args))


def _prctl(option: int, value: object, name: str) -> None:
    _do(name, _call("prctl", option, value, 0, 0, 0))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_bytes = kind.encode() if kind else None
    data = options.encode() or None
    _syscall(
        "mount", ctypes.c_char_p(source.encode()), ctypes.c_char_p(target.encode()), ctypes.c_char_p(kind_bytes),
        flags, ctypes.c_char_p(data),
    )  # fmt: skip


def _mount_attributes(path: str, attributes: int, recursive: bool = True) -> None:
    """Add mount attributes at (and below) `path`; unlike a remount, keeps those locked by a user namespace."""
    at_fdcwd, flags = -100, 0x8000 if recursive else 0
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    _syscall("mount_setattr", at_fdcwd, ctypes.c_char_p(path.encode()), flags, ctypes.c_char_p(wanted), 32)


# --- seccomp -----------------------------------------------------------------------------------------------------


def _stop(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value & 0xFFFFFFFF)


_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _JUMP, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x05, 0x06
_ALLOW, _KILL = _stop(_RETURN, 0x7FFF0000), _stop(_RETURN, 0x80000000)
_SPARE_THREADS = 100  # threads of a sample, and other threads that this user may start within a second
_OWN_PID = 0xFEDCBA98  # stands for the sample's own pid until `Cage.shut` knows it


def _refuse(code: int = errno.EPERM) -> bytes:
    return _stop(_RETURN, 0x00050000 | code)


def _on(arg: int, tests: Iterable[bytes]) -> bytes:
    """Instructions that apply `tests` to the low word of argument `arg` of a system call, and allow it otherwise."""
    return _stop(_LOAD, 16 + 8 * arg) + b"".join(tests) + _ALLOW


def _number(name: str) -> int:
    assert _ARCH is not None
    return _NR[name][_ARCH]


def _refuse_if(values: Iterable[int]) -> list[bytes]:
    return [_stop(_EQUAL, v, 0, 1) + _refuse() for v in values]


def _refuse_unless(value: int) -> list[bytes]:
    return [_stop(_EQUAL, value, 1, 0) + _refuse()]


def _worker_filter(denied: Iterable[str], no_writing: bool) -> bytes:
    """The first cBPF program, for the worker and its forks: denies calls that none of them needs, and foreign ABIs."""
    bodies = {_number(name): _refuse() for name in denied}
    # ENOSYS makes glibc fall back to clone, whose flags a filter can read
    bodies[_number("clone3")] = _refuse(errno.ENOSYS)
    bodies[_number("prlimit64")] = _on(0, _refuse_unless(0))
    bodies[_number("fcntl")] = _on(1, _refuse_if([8, 10, 15]))  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by proxy
    # FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX
    bodies[_number("ioctl")] = _on(1, _refuse_if([0x8901, 0x8902, 0x5412, 0x541C]))
    if no_writing:
        creating = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        for name, arg in (("open", 1), ("openat", 2)):
            bodies[_number(name)] = _on(arg, [_stop(_ANY_BIT, creating, 0, 1) + _refuse()])
    return _program(bodies)


def _child_filter() -> bytes:
    """The second cBPF program, for each child: denies calls that only the worker needs. Small: every child loads it."""
    new_namespaces = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | 0x02000080
    bodies = {_number(name): _refuse() for name in _WORKERS_OWN}
    bodies[_number("clone")] = _on(
        0, [_stop(_ANY_BIT, _THREAD, 1, 0) + _refuse(), _stop(_ANY_BIT, new_namespaces, 0, 1) + _refuse()]
    )
    bodies[_number("sendto")] = _on(5, _refuse_unless(0))  # no address: only to the other end
    for name in ("kill", "tkill", "tgkill"):
        bodies[_number(name)] = _on(0, _refuse_unless(_OWN_PID))
    bodies[_number("prctl")] = _on(0, _refuse_if([_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE]))
    return _program(bodies)


def _program(bodies: dict[int, bytes]) -> bytes:
    """A program that kills on a foreign architecture, else runs the body of the call number, and allows other calls.

    It is a search tree, since the kernel runs it on every possible call when it is installed, and on every call made.
    """
    assert _ARCH is not None
    bodies.pop(-1, None)  # calls that this architecture does not have
    head = _stop(_LOAD, 4) + _stop(_EQUAL, _AUDIT_ARCH[_ARCH], 1, 0) + _KILL + _stop(_LOAD, 0)
    if _ARCH == 0:
        head += _stop(_AT_LEAST, 0x40000000, 0, 1) + _KILL  # the x32 calls
    return head + _tree(sorted(bodies.items()))


def _tree(cases: list[tuple[int, bytes]]) -> bytes:
    """Instructions that find the case of the call number in the accumulator; every path returns, even without one."""
    if len(cases) == 1:
        ((number, body),) = cases
        return _stop(_EQUAL, number, 0, len(body) // 8) + body + _ALLOW
    half = len(cases) // 2
    low, high = _tree(cases[:half]), _tree(cases[half:])
    # a conditional jump reaches 255 instructions, an unconditional one any number
    return _stop(_AT_LEAST, cases[half][0], 0, 1) + _stop(_JUMP, len(low) // 8) + low + high


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _confinement(program: ctypes.Array[ctypes.c_char]) -> tuple[object, ...]:
    """The system call that installs a cBPF program, ready for `_do`."""
    pointer = ctypes.pointer(_SockFprog(len(program) // 8, ctypes.cast(program, ctypes.c_char_p)))
    return _call("prctl", _PR_SET_SECCOMP, 2, pointer, 0, 0)


# --- Landlock ----------------------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """The Landlock version of the running kernel; 0 if Landlock is missing or off."""
    try:
        return _syscall("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def _ruleset(abi: int, rules: Sequence[tuple[int, int]]) -> int:
    """A descriptor of a ruleset: only `rules` (an open path, the rights below it), no TCP, no signals to outside."""
    handled = (1 << _FS_BITS_BY_ABI[min(abi, 5)]) - 1
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = struct.pack("QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)[:size]
    ruleset = _syscall("landlock_create_ruleset", ctypes.c_char_p(attributes), size, 0)
    for path_fd, rights in rules:
        _syscall("landlock_add_rule", ruleset, 1, ctypes.c_char_p(struct.pack("=Qi", rights & handled, path_fd)), 0)
    return ruleset


# --- the cage ----------------------------------------------------------------------------------------------------


class Cage:
    """An isolated worker, with everything it has prepared for its children.

    A plain class, since each module that a worker imports makes its forks slower. A child copies every page that it
    writes, so work that can be done once, in the worker, is not done in the child.
    """

    def __init__(
        self, tier: str, abi: int, proc: int, paths: Sequence[tuple[int, int]], filter: bytes, limits: dict[int, int]
    ) -> None:
        """abi: Landlock version, 0 for none; proc: an open /proc; paths: Landlock rules (open path, rights).

        filter: calls that the worker is denied already; limits: for it and its children, by RLIMIT_*.
        """
        assert _ARCH is not None
        self.tier = tier
        self._namespaces = tier.startswith("T1")
        self._abi = abi
        self._proc = proc
        self._paths = tuple(paths)
        self._ruleset = -1
        self._folder: tuple[object, ...] = ()
        # A user's limit of threads counts all running threads, so a child's limit is above the number running now.
        self._shares_user = resource.RLIMIT_NPROC not in limits
        self._threads, self._count_again = 0, 0.0
        # Not os.fork after unshare: that needs a second fork for the pid namespace and would nest the worker's own.
        flags = NEWUSER | NEWPID | NEWNS | NEWIPC | _SIGCHLD
        tid = _thread_id_address()
        if tid:  # keep glibc's cached thread id right in the child, as its own fork does
            flags |= _CHILD_SETTID | _CHILD_CLEARTID
        tail = (tid, 0) if _ARCH == 0 else (0, tid)
        self._clone = _call("clone", flags, 0, 0, *tail)
        no_capabilities = struct.pack("Ii", 0x20080522, 0), bytes(24)
        self._drop_capabilities = _call("capset", *map(ctypes.c_char_p, no_capabilities))
        self._die_with_parent = _call("prctl", _PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        child = _child_filter()
        self._filter = ctypes.create_string_buffer(child, len(child))
        placeholder = struct.pack("I", _OWN_PID)
        self._own_pid = [i for i in range(0, len(child), 4) if child[i : i + 4] == placeholder]
        self._confine = _confinement(self._filter)
        if self._namespaces:
            self._write_own_pid(1)
        elif abi:
            self._allow(self._paths)
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        os.close(null)
        for kind, value in limits.items():
            _lower(kind, value)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
        if not self._namespaces:
            _prctl(_PR_SET_DUMPABLE, 0, "not dumpable")  # no other process of this user may look into the samples
        _do("seccomp", _confinement(ctypes.create_string_buffer(filter, len(filter))))

    def clone(self, shared_folder: bool = True) -> int:
        """Fork, in T1 into fresh user, pid, mount and IPC namespaces with a private, empty /tmp.

        No id is mapped into the user namespace, so every user is "nobody" inside. Returns the child's pid, and 0 in the
        child, which must call `shut` next. The worker must have one thread only.
        """
        if not self._namespaces:
            if self._shares_user and time.monotonic() >= self._count_again:
                self._count_again = time.monotonic() + 1
                self._threads = _threads_of(os.geteuid()) + _SPARE_THREADS
            return os.fork()
        self._renew_folder()
        pid = _do("clone", self._clone)
        if not shared_folder:
            self._folder = (None,)  # used from now on
        return pid

    def _renew_folder(self) -> None:
        """Make a new /tmp, and the rules that allow it, for the next child, which copies the mounts of this process.

        A /tmp that was not changed is used again.
        """
        if self._folder:
            if _state("/tmp") == self._folder:
                return
            os.chdir("/")
            _syscall("umount2", ctypes.c_char_p(b"/tmp"), _MNT_DETACH)
        _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=64m,nr_inodes=4096,mode=700")
        os.chdir("/tmp")
        self._folder = _state("/tmp")
        if self._abi:
            root, folder = os.open("/", os.O_PATH), os.open("/tmp", os.O_PATH)
            self._allow((*self._paths, (root, _READ), (folder, (1 << 16) - 1)))
            os.close(root)
            os.close(folder)

    def _allow(self, paths: Sequence[tuple[int, int]]) -> None:
        """Let a child keep access to these paths after `shut`."""
        if self._ruleset >= 0:
            os.close(self._ruleset)
        self._ruleset = _ruleset(self._abi, paths)
        self._restrict = _call("landlock_restrict_self", self._ruleset, 0)

    def shut(self, keep: Sequence[int]) -> None:
        """Give up everything but the descriptors `keep`, which become 3, 4, ... Irrevocable; call in the child."""
        os.setsid()  # a pid namespace does not cut process groups
        if self._threads:
            _lower(resource.RLIMIT_NPROC, self._threads)
        if self._ruleset >= 0:
            _do("landlock_restrict_self", self._restrict)
        for i, fd in enumerate(keep):
            os.dup2(fd, 60 + i)  # so that they do not overwrite one another
        for i in range(len(keep)):
            os.dup2(60 + i, 3 + i)
        os.closerange(3 + len(keep), 65536)
        _do("capset", self._drop_capabilities)
        _do("prctl", self._die_with_parent)
        if not self._namespaces:
            self._write_own_pid(os.getpid())
        _do("seccomp", self._confine)

    def _write_own_pid(self, pid: int) -> None:
        for offset in self._own_pid:
            struct.pack_into("I", self._filter, offset, pid)

    def waited_s(self, pid: int) -> float | None:
        """Seconds that the threads of a child waited for a core; None if the kernel does not report it."""
        total = 0
        try:
            tasks = os.open(f"{pid}/task", os.O_RDONLY, dir_fd=self._proc)
        except OSError:
            return None
        try:
            for thread in os.listdir(tasks):  # noqa: PTH208
                fd = os.open(f"{thread}/schedstat", os.O_RDONLY, dir_fd=tasks)
                try:
                    total += int(os.read(fd, 100).split()[1])
                finally:
                    os.close(fd)
        except (OSError, IndexError, ValueError):
            return None
        finally:
            os.close(tasks)
        return total / 1e9


def trim_heap() -> None:
    """Return memory freed during start-up to the system, since a fork copies the table of every page."""
    _LIBC.malloc_trim(0)


def _state(path: str) -> tuple[object, ...]:
    """A value that differs after any change in a folder, even if the clock is coarse."""
    stat, usage = os.stat(path), os.statvfs(path)  # noqa: PTH116 - pathlib is large
    return stat.st_ctime_ns, stat.st_mode, usage.f_ffree, usage.f_bfree, *os.listxattr(path)


def cpu_clock(pid: int) -> int:
    """The kernel's name for the CPU clock of a process, for `time.clock_gettime`."""
    return (~pid << 3) | 2


def enter(tier: str, read_only: Sequence[str], memory_bytes: int) -> Cage:
    """Isolate the worker itself for `tier` ("T1", "T2", "T3"); samples may read below `read_only` and nowhere else.

    Root becomes an unused user before or during that. Raises OSError that names the first refused call.
    """
    abi = landlock_abi()
    proc = os.open("/proc", os.O_PATH)
    limits = {**_LIMITS, resource.RLIMIT_AS: memory_bytes}
    if tier == "T1":
        filter = _seccomp()
        _enter_namespaces(proc, read_only)
        name = "T1 namespaces+seccomp" + ("+landlock" if abi else "")
        rules = [(os.open(p, os.O_PATH), _WRITE_FILE | _READ_FILE) for p in _DEVICES]
        return Cage(name, abi, proc, rules, filter, {**limits, resource.RLIMIT_NPROC: 64})
    rules = [(os.open(p, os.O_PATH), _READ) for p in read_only]
    rules += [(os.open(p, os.O_PATH), _WRITE_FILE | _READ_FILE) for p in _DEVICES]
    if tier == "T2" and not abi:
        raise OSError(errno.EOPNOTSUPP, "Landlock: not in this kernel, or switched off")
    filter = _seccomp(*_METADATA) if tier == "T2" else _seccomp(*_METADATA, *_BY_NAME, no_writing=True)
    if _become_nobody():  # otherwise the limit counts all processes of this user: see `Cage.clone`
        limits[resource.RLIMIT_NPROC] = 64
    if tier == "T2":
        return Cage("T2 landlock+seccomp", abi, proc, rules, filter, limits)
    return Cage("T3 rlimits+seccomp", 0, proc, (), filter, limits)


_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def _seccomp(*more: str, no_writing: bool = False) -> bytes:
    if _ARCH is None:
        raise OSError(errno.ENOSYS, f"seccomp: no system call table for {os.uname().machine}")
    skip = {*_OWN_USE, *_WORKERS_OWN, *_CONDITIONAL, *_METADATA, *_BY_NAME}
    denied = [n for n in _NR if n not in skip] + [n for n in more if n not in _CONDITIONAL]
    return _worker_filter(denied, no_writing)


def _enter_namespaces(proc: int, read_only: Sequence[str]) -> None:
    """Enter a root folder with only `read_only`, three devices and an empty /tmp; no network; no longer root."""
    uid, gid = os.geteuid(), os.getegid()
    private = NEWNS | NEWNET | NEWIPC | NEWUTS
    as_root = False
    if uid == 0:
        try:
            _unshare(private)
            as_root = True
        except PermissionError:  # root without CAP_SYS_ADMIN: continue like any other user
            _become_nobody()
            uid, gid = os.geteuid(), os.getegid()
    if not as_root:
        _unshare(private | NEWUSER)
        _map_ids(proc, uid, gid, uid)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _build_root("/proc", read_only)
    if as_root:  # no longer root, but may change its own mounts
        _become_nobody()
        uid, gid = os.geteuid(), os.getegid()
        _unshare(NEWUSER | NEWNS)
        _map_ids(proc, uid, gid, uid)


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


def placed(path: str) -> str:
    """The path of a folder in the root of T1: its own, unless the samples' own /tmp would hide it there."""
    return f"/outside{path}" if path.startswith("/tmp/") else path


def _build_root(staging: str, read_only: Sequence[str]) -> None:
    """Make the new root over `staging` (no source may lie below it) and pivot into it."""
    _mount("tmpfs", staging, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for source in (*read_only, *_DEVICES):
        target = staging + placed(source)
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        if os.path.islink(source):  # noqa: PTH114 - /lib may be a link to usr/lib
            os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211
            continue
        if os.path.isdir(source):  # noqa: PTH112
            os.mkdir(target)  # noqa: PTH102
        else:
            os.close(os.open(target, os.O_CREAT))
        _mount(source, target, None, _MS_BIND | _MS_REC)
        _mount_attributes(target, _ATTR_NOSUID | _ATTR_RDONLY | (0 if source in _DEVICES else _ATTR_NODEV))
    os.makedirs(staging + "/tmp", exist_ok=True)  # noqa: PTH103
    os.chdir(staging)
    _syscall("pivot_root", ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    _syscall("umount2", ctypes.c_char_p(b"."), _MNT_DETACH)  # the old root, which is mounted over the new one
    os.chdir("/")
    _mount_attributes("/", _ATTR_RDONLY, recursive=False)  # the devices stay writable


def _threads_of(uid: int) -> int:
    """The number of threads that a user runs now."""
    count = 0
    for process in os.listdir("/proc"):  # noqa: PTH208
        if process.isdigit():
            with contextlib.suppress(OSError):  # gone, or hidden
                if os.stat(f"/proc/{process}").st_uid == uid:  # noqa: PTH116
                    count += len(os.listdir(f"/proc/{process}/task"))  # noqa: PTH208
    return count


def _become_nobody() -> bool:
    """Become an unused user if this is root; False if the process is not a real root. Raises OSError if it cannot.

    RLIMIT_NPROC does not count for kernel uid 0, and files of root would be open to the sample.
    """
    if os.geteuid() != 0:
        return False
    uid = 60578 + os.getpid() % 600  # a range that distributions and systemd do not use
    try:
        os.setresgid(uid, uid, uid)
    except OSError as e:
        if e.errno == errno.EINVAL:  # the uid is not mapped here: "root" of another user namespace
            return False
        raise type(e)(e.errno, f"running as root, and cannot become another user: {e.strerror}") from e
    os.setgroups([])
    os.setresuid(uid, uid, uid)
    _prctl(_PR_SET_DUMPABLE, 1, "dumpable")  # otherwise /proc/self/uid_map belongs to root
    return True


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # programs that recurse deeply ask for a larger stack, which counts as memory
    resource.setrlimit(kind, (value, hard if kind == resource.RLIMIT_STACK else value))


_LIMITS = {
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_FSIZE: 64 << 20,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_STACK: 8 << 20,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
}


def _thread_id_address() -> int:
    """The address at which glibc caches this thread's id; 0 if the kernel does not report it."""
    address = ctypes.c_ulong(0)
    try:
        _prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), "tid address")
    except OSError:
        return 0
    return int(address.value)
