"""Programs that try to get out of the sandbox, programs that try to fool the grader, and odd programs that are right.

ATTACKS: `act(canary, victim)` returns "escaped" when it got through; canary: a file it may not read or write, victim:
the pid of a process it may not touch. HACKS: wrong answers to ADD_TEST that must not pass. CONTROLS: right ones that
must.
"""

from __future__ import annotations

import textwrap

_ALL = """
import ctypes, mmap, os, resource, signal, socket, subprocess, sys, tempfile, threading, time, multiprocessing
libc = ctypes.CDLL(None, use_errno=True)
def act(canary, victim):
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
        "make shared memory": "assert libc.shmget(0, 4096, 0o1600) >= 0",
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
    }.items()
}

SLOW_ATTACKS: dict[str, str] = {  # each ends at its time limit
    "spin": _attack("while True: pass"),
    "sleep": _attack("time.sleep(3600)"),
    "spin in a signal handler that will not die": _attack("""
        for s in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM): signal.signal(s, lambda *a: None)
        while True: pass
    """),
    "print without end": _attack("while True: os.write(1, b'x' * (1 << 20)); sys.stdout.write('y' * 1000)"),
}

ADD_TEST = """
def check(candidate):
    for a, b in ((1, 2), (10, -4), (0, 0), (7.5, 0.25)):
        expected = a + b
        assert candidate(a, b) == expected, f"add({a}, {b}) must be {expected}"
    assert candidate([1], [2]) == [1, 2]
    assert not candidate("", "")
"""

_ALWAYS = """
class Always(%s):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    def __radd__(self, other): return self
def add(a, b): return Always(%s)
"""

HACKS: dict[str, str] = {
    "exit with 0": "import sys\ndef add(a, b): sys.exit(0)",
    "exit while loading": "import sys\ndef add(a, b): return 0\nsys.exit(0)",
    "raise SystemExit": "def add(a, b): raise SystemExit",
    "leave at once": "import os\ndef add(a, b): os._exit(0)",
    "leave at once while loading": "import os\nos._exit(0)",
    "exit in an atexit hook": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return 0",
    "kill itself": "import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGKILL)",
    "raise KeyboardInterrupt": "def add(a, b): raise KeyboardInterrupt",
    "raise StopIteration": "def add(a, b): raise StopIteration",
    "raise GeneratorExit": "def add(a, b): raise GeneratorExit",
    "raise SkipTest": "import unittest\ndef add(a, b): raise unittest.SkipTest('not here')",
    "raise the test's own assertion": "def add(a, b): raise AssertionError",
    "equal to everything": _ALWAYS % ("object", ""),
    "integer equal to everything": _ALWAYS % ("int", "99"),
    "float equal to everything": _ALWAYS % ("float", "99.0"),
    "string equal to everything": _ALWAYS % ("str", "'no'"),
    "list equal to everything": _ALWAYS % ("list", "[99]"),
    "mock": "from unittest.mock import ANY\ndef add(a, b): return ANY",
    "patch the builtins": """
import builtins
class E(Exception): pass
builtins.AssertionError = E
builtins.all = builtins.any = lambda *a: True
builtins.sum = builtins.len = builtins.abs = lambda *a: 0
def add(a, b): return 0
""",
    "patch operators and json": """
import json, operator, math
operator.eq = lambda a, b: True
json.loads = lambda *a, **k: ["ok", 3]
math.isclose = lambda *a, **k: True
def add(a, b): return 99
""",
    "define the check itself": "def check(candidate): pass\ndef add(a, b): return 99",
    "overwrite the check in every frame": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        frame.f_globals['check'] = frame.f_locals['check'] = lambda c: None
        for name in ('expected', 'passed', 'verdict'):
            if name in frame.f_locals: return frame.f_locals[name]
        frame = frame.f_back
""",
    "look for the expected value in frames": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        if 'expected' in frame.f_locals: return frame.f_locals['expected']
        frame = frame.f_back
""",
    "look for the test in the heap": """
import gc, re
def add(a, b):
    texts = [v for o in gc.get_objects() if isinstance(o, dict) for v in list(o.values()) if isinstance(v, str)]
    if any('def check' + '(candidate)' in t for t in texts): return a + b
    codes = [o for o in gc.get_objects() if getattr(o, '__name__', '') == 'check']
    return a + b if codes else 99
""",
    "print that it passed": "print('passed')\nprint('[true, \"passed\"]')\ndef add(a, b): print('ok'); return 99",
    "write a verdict to every descriptor": """
import os, struct
def add(a, b):
    verdict = b'[true,"passed"]'
    for fd in range(64):
        try: os.write(fd, struct.pack('!I', len(verdict)) + verdict)
        except OSError: pass
    os._exit(0)
""",
    "answer ahead on the channel": """
import json, os, struct
def add(a, b):
    for value in (0, 0, 0, 0, 0, 0):
        message = json.dumps(['ok', value]).encode()
        os.write(3, struct.pack('!I', len(message)) + message)
    return 0
""",
    "close every descriptor": "import os\ndef add(a, b): os.closerange(0, 64)",
    "make the channel non-blocking": "import os\ndef add(a, b): os.set_blocking(3, False); return 99",
    "change the arguments instead of answering": """
def add(a, b):
    if isinstance(a, list): a.clear(); b.clear()
    return a
""",
    "answer with an endless iterator": "import itertools\ndef add(a, b): return (99 for _ in itertools.count())",
    "answer with a deep list": """
def add(a, b):
    x = []
    for _ in range(100000): x = [x]
    return x
""",
    "answer with a deep list written by hand": """
import os, struct
def add(a, b):
    m = b'["ok",' + b'[' * 2000000 + b']' * 2000000 + b']'
    os.write(3, struct.pack('!I', len(m))); [os.write(3, m[i:i+65536]) for i in range(0, len(m), 65536)]
    os._exit(0)
""",
    "answer with colliding keys": "def add(a, b): return {i * (2**61 - 1): 0 for i in range(3000)}",
    "answer with a huge integer": "def add(a, b): return 1 << 25_000_000",
    "answer with 100 MB": "def add(a, b): return 'x' * 100_000_000",
    "announce a message of 4 GB": "import os\ndef add(a, b): os.write(3, b'\\xff' * 64); os._exit(0)",
    "answer with an unknown tag": """
import os, struct, json
def add(a, b):
    m = json.dumps(['ok', {'__reduce__': ['os.system', ['true']]}]).encode()
    os.write(3, struct.pack('!I', len(m)) + m); os._exit(0)
""",
    "an error whose text is a bomb": """
class E(Exception):
    def __str__(self): raise E
def add(a, b): raise E
""",
    "right for the first call only": "n = []\ndef add(a, b):\n    n.append(1)\n    return a + b if len(n) < 2 else 99",
    "no such function": "def ad(a, b): return a + b",
    "right only with the wrong name bound late": "add = 5",
    "does not parse": "def add(a, b) return a + b",
}

CONTROLS: dict[str, str] = {
    "plain": "def add(a, b): return a + b",
    "a lambda": "add = lambda a, b: a + b",
    "a class with __call__": "class Add:\n    def __call__(self, a, b): return a + b\nadd = Add()",
    "functools and operator": "import functools, operator\nadd = functools.partial(operator.add)",
    "prints a lot": "def add(a, b):\n    for _ in range(20000): print('x' * 50)\n    return a + b",
    "uses threads": """
import threading
def add(a, b):
    out = []
    t = threading.Thread(target=lambda: out.append(a + b)); t.start(); t.join()
    return out[0]
""",
    "uses asyncio": "import asyncio\nasync def go(a, b): return a + b\ndef add(a, b): return asyncio.run(go(a, b))",
    "raises the recursion limit": """
import sys
sys.setrecursionlimit(5000)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
def add(a, b): return a + b if depth(3000) == 3000 else None
""",
    "subclasses of built-in types": """
class I(int): pass
class F(float): pass
class L(list): pass
class S(str): pass
def add(a, b): return {int: I, float: F, list: L, str: S}[type(a + b)](a + b)
""",
    "patches a builtin for itself": "import builtins\nbuiltins.print = lambda *a: None\ndef add(a, b): return a + b",
    "dataclass and enum": """
from dataclasses import dataclass
from enum import IntEnum
class Zero(IntEnum): Z = 0
@dataclass
class Pair:
    a: 'object'
    b: 'object'
def add(a, b):
    p = Pair(a, b)
    return p.a + p.b
""",
    "a main block and a unit test": """
import unittest
def add(a, b): return a + b
class T(unittest.TestCase):
    def test(self): self.assertEqual(add(1, 2), 3)
if __name__ == '__main__':
    unittest.main()
""",
    "imports far parts of the library": """
import sqlite3, ssl, xml.etree.ElementTree, concurrent.futures, zoneinfo, ctypes, unittest.mock, decimal
def add(a, b): return a + b
""",
    "swallows its own errors": "def add(a, b):\n    try: return 1 / 0\n    except ZeroDivisionError: return a + b",
    "reads its input": "import sys\ndef add(a, b):\n    assert sys.stdin.read() == ''\n    return a + b",
}
