"""Programs that try to get out of the sandbox, and what they try it with.

ATTACKS: `act(canary, victim)` returns "escaped" when it got through; canary: a file it may not read or write, in a
folder that also holds a socket "mailbox", its name ending in the number of a shared memory segment and of a message
queue; victim: the pid of a process it may not touch. KERNEL_CALLS: system calls that must be refused whatever their
arguments. Wrong and right answers are in `sandbox_programs`.
"""

from __future__ import annotations

import textwrap

_ALL = """
import ctypes, fcntl, mmap, os, resource, signal, socket, subprocess, sys, tempfile, threading, time, multiprocessing
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == 'x86_64'
def act(canary, victim):
    folder, segment = os.path.dirname(canary), int(canary.rpartition('-')[2])
"""


def _attack(body: str) -> str:
    return _ALL + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n    return 'escaped'\n"


ATTACKS: dict[str, str] = {
    name: _attack(body)
    for name, body in {
        # files
        "read the password file": "open('/etc/passwd').read()",
        "read a file by name": "open(canary).read()",
        "read a file with a raw system call": """
            assert libc.open(canary.encode(), 0) >= 0
        """,
        "read through dot-dot": "open('/usr/lib/../..' + canary).read()",
        "read through a link in the private folder": """
            os.chdir(tempfile.mkdtemp()); os.symlink(canary, 'link'); open('link').read()
        """,
        "list homes": "os.listdir('/home') + os.listdir('/root')",
        "write a file": "open(canary, 'a').write('x')",
        "delete a file": "os.unlink(canary)",
        "make a file world-writable": "os.chmod(canary, 0o777)",
        "set a file's times": "os.utime(canary, (0, 0))",
        "truncate a file": "os.truncate(canary, 0)",
        "write into the standard library": "open(os.__file__, 'a').write('')",
        "write beside the file system's root": "open('/escaped', 'w')",
        "run a program by exec": "os.execv('/bin/sh', ['sh', '-c', 'true'])",
        "make a device node": "os.mknod(tempfile.gettempdir() + '/sda', 0o60600, os.makedev(8, 0)); open('/dev/sda')",
        # other processes
        "fork": "os.fork() or os._exit(0)",
        "vfork": "assert libc.vfork() >= 0",
        "raw clone": "assert libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 17, 0, 0, 0, 0) >= 0",
        "run a shell": "subprocess.run(['/bin/sh', '-c', 'true'], check=True)",
        "start a process by multiprocessing": """
            p = multiprocessing.get_context('fork').Process(target=int); p.start(); p.join(); assert p.exitcode == 0
        """,
        "kill the parent": "os.kill(os.getppid() or -1, signal.SIGKILL)",
        "stop the parent": "os.kill(os.getppid() or -1, signal.SIGSTOP)",
        "kill everything": "os.kill(-1, signal.SIGKILL)",
        "kill a stranger": "os.kill(victim, signal.SIGKILL)",
        "kill a stranger through a pidfd": "signal.pidfd_send_signal(os.pidfd_open(victim), signal.SIGKILL)",
        "lower a stranger's limits": "resource.prlimit(victim, resource.RLIMIT_NOFILE, (3, 3))",
        "renice a stranger": "os.setpriority(os.PRIO_PROCESS, victim, 19)",
        "ptrace a stranger": "assert libc.ptrace(16, victim, 0, 0) == 0",
        "read a stranger's memory": """
            buffer = ctypes.create_string_buffer(8)
            iov = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
            there = (ctypes.c_size_t * 2)(0x400000, 8)
            assert libc.process_vm_readv(victim, iov, 1, there, 1, 0) >= 0
        """,
        "read a stranger's environment": "open(f'/proc/{victim}/environ').read()",
        "list processes": "assert any(n.isdigit() for n in os.listdir('/proc'))",
        "outlive the parent": "assert libc.prctl(1, 0, 0, 0, 0) == 0",
        # network and IPC
        "open a TCP socket": "socket.create_connection(('127.0.0.1', 22), 1)",
        "open a UDP socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "open a Unix socket": "socket.socket(socket.AF_UNIX).bind('\\0escape')",
        "make shared memory": "made = libc.shmget(0, 4096, 0o1600); assert made >= 0; libc.shmctl(made, 0, None)",
        "make a memory file": "os.memfd_create('x')",
        # privilege
        "become root": "os.setuid(0)",
        "make a user namespace": "assert libc.unshare(0x10000000) == 0",
        "mount": "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
        "change root": "os.chroot('/')",
        "load a BPF program": "assert libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0) >= 0",
        "raise a hard limit": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
        "see the environment": "assert os.environ",
        "find the descriptors of the worker": """
            assert any(fd > 3 for fd in range(64) if not libc.fcntl(fd, 1) < 0)
        """,
        # resources
        "allocate 4 GB": "block = bytearray(4 << 30); block[::4096] = b'x' * len(block[::4096])",
        "allocate 4 GB of anonymous pages": "mmap.mmap(-1, 4 << 30)",
        "fill the private folder": """
            for i in range(40):
                with open(f'{tempfile.gettempdir()}/{i}', 'wb') as f: f.write(bytes(8 << 20))
        """,
        "start 2,000 threads": """
            gate = threading.Event()
            for _ in range(2000): threading.Thread(target=gate.wait, daemon=True).start()
        """,
        "recurse through the C stack": """
            sys.setrecursionlimit(10**9)
            f = lambda n: [f(n + 1) for _ in 'x']
            f(0)
        """,
        "compile a bomb": "compile('-' * 10**6 + '1', '', 'eval')",
        # more files
        "read through the process' own root": "open('/proc/self/root' + canary).read()",
        "read below an open folder": "os.open(canary[1:], os.O_RDONLY, dir_fd=os.open('/', os.O_PATH))",
        "read with openat2": """
            how = (ctypes.c_uint64 * 3)(0, 0, 0)
            assert libc.syscall(437, -100, canary.encode(), how, 24) >= 0
        """,
        "map a file": "mmap.mmap(os.open(canary, os.O_RDWR), 6)",
        "hard-link a file": "os.link(canary, folder + '/link')",
        "rename a file": "os.rename(canary, canary + 'x')",
        "make a folder": "os.mkdir(folder + '/new')",
        "make a link": "os.symlink('/', folder + '/link')",
        "change a file's owner": "os.chown(canary, os.getuid(), -1)",
        "set an extended attribute": "os.setxattr(canary, 'user.x', b'1')",
        "watch a folder": "assert libc.inotify_add_watch(libc.inotify_init1(0), folder.encode(), 0xFFF) >= 0",
        "touch a device, for later samples to see": "os.utime('/dev/null')",
        "read its own process' files": "open('/proc/self/maps').read() + open('/proc/self/environ').read()",
        "write into its own memory by name": "open('/proc/self/mem', 'r+b')",
        "read the memory of the machine": "open('/proc/meminfo').read()",
        # more of other processes
        "kill a stranger's thread": "assert libc.syscall(234 if X86 else 131, victim, victim, 9) == 0",
        "kill a stranger by its thread number": "assert libc.syscall(200 if X86 else 130, victim, 9) == 0",
        "queue a signal for a stranger": """
            assert libc.syscall(129 if X86 else 138, victim, 9, (ctypes.c_int * 32)(9, 0, -1, 0, os.getpid())) == 0
        """,
        "have a pipe signal a stranger": "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, victim)",
        "have a socket signal a stranger": """
            fcntl.ioctl(socket.socketpair()[0], 0x8901, victim.to_bytes(4, 'little'))
        """,
        "take a stranger's descriptor": "assert libc.syscall(438, os.pidfd_open(victim), 0, 0) >= 0",
        "pin a stranger": "os.sched_setaffinity(victim, {0})",
        "pin itself": "os.sched_setaffinity(0, {0})",
        "make a stranger idle": "os.sched_setscheduler(victim, os.SCHED_IDLE, os.sched_param(0))",
        "become a real-time process": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "set a stranger's disk priority": "assert libc.syscall(251 if X86 else 30, 1, victim, 3 << 13) == 0",
        "look into a stranger's links": "os.readlink(f'/proc/{victim}/cwd')",
        "clone with clone3": "assert libc.syscall(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88) >= 0",
        "a thread in a new namespace": "assert libc.syscall(56 if X86 else 220, 0x10010F00, 0, 0, 0, 0) >= 0",
        "type into the terminal": "libc.ioctl(0, 0x5412, b'x'); assert ctypes.get_errno() != 1",
        "be looked into": "assert libc.prctl(4, 1, 0, 0, 0) == 0",
        # more network and IPC
        "open a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "open a raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "open a VM socket": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "post a datagram from a socket pair": """
            socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', folder + '/mailbox')
        """,
        "post a datagram to an abstract name": """
            socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', '\\0' + folder)
        """,
        "read a stranger's shared memory": """
            libc.shmat.restype = ctypes.c_void_p
            assert libc.shmat(segment, None, 0o10000) != 2**64 - 1
        """,
        "ask about a stranger's shared memory": """
            assert libc.shmctl(segment, 2, ctypes.create_string_buffer(512)) == 0
        """,
        "remove a message queue": "assert libc.mq_unlink(b'/harness-%d' % segment) == 0",
        # more resources
        "start 200 small threads": """
            threading.stack_size(32768)
            gate = threading.Event()
            for _ in range(200): threading.Thread(target=gate.wait, daemon=True).start()
        """,
        "make 100,000 files": """
            for i in range(100_000): open(f'{tempfile.gettempdir()}/{i}', 'w').close()
        """,
        "write a file of 200 MB": """
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with open(tempfile.gettempdir() + '/large', 'wb') as f: os.posix_fallocate(f.fileno(), 0, 200 << 20)
        """,
        "open 1,000 descriptors": "kept = [os.pipe() for _ in range(500)]",
        "lift the limit on descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))",
        "lock memory": "assert libc.mlockall(3) == 0",
        "leave core files": "resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))",
        "learn where the harness lies": "assert sys.argv[1:]",
    }.items()
}

KERNEL_CALLS: dict[str, tuple[int, int]] = {  # name: number on x86-64, on aarch64
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "perf_event_open": (298, 241), "bpf": (321, 280), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "personality": (135, 92), "setns": (308, 268), "unshare": (272, 97), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "pivot_root": (155, 41), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "acct": (163, 89), "syslog": (103, 116),
    "init_module": (175, 105), "kexec_load": (246, 104), "swapon": (167, 224), "reboot": (169, 142),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "kcmp": (312, 272), "migrate_pages": (256, 238), "move_pages": (279, 239), "process_madvise": (440, 440),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "ptrace": (101, 117), "msgget": (68, 186),
    "semget": (64, 190), "shmget": (29, 194), "mq_open": (240, 180), "execveat": (322, 281),
    "landlock_create_ruleset": (444, 444),
}  # fmt: skip

# errno is EPERM (1) or ENOSYS (38) where the call was refused before its arguments were looked at
CALL = _attack("""
for arguments in ((0, 0, 0, 0, 0), (-1, -1, -1, -1, -1)):
    ctypes.set_errno(0)
    libc.syscall(NUMBER[0 if X86 else 1], *arguments)
    if ctypes.get_errno() not in (1, 38): return 'escaped'
return 'refused'
""")

SLOW_ATTACKS: dict[str, str] = {  # each ends at its time limit
    "spin": _attack("while True: pass"),
    "sleep": _attack("time.sleep(3600)"),
    "spin in a signal handler that will not die": _attack("""
        for s in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM): signal.signal(s, lambda *a: None)
        while True: pass
    """),
    "print without end": _attack("while True: os.write(1, b'x' * (1 << 20)); sys.stdout.write('y' * 1000)"),
}
