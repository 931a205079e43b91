"""Programs that try to fool the grader, and odd programs that are right; by the form of the job they answer.

FORMS: the ways a test reaches a program, each with a right and a wrong program. HACKS: wrong answers that must not
pass, nor do anything to the samples after them. CONTROLS: right ones that must pass. ODD: right answers to
tests of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.protocols import CodeJob

ADD_TEST = """
def check(candidate):
    for a, b in ((1, 2), (10, -4), (0, 0), (7.5, 0.25)):
        expected = a + b
        assert candidate(a, b) == expected, f"add({a}, {b}) must be {expected}"
    assert candidate([1], [2]) == [1, 2]
    assert not candidate("", "")
"""


@dataclass(frozen=True)
class Form:
    """One way of asking: a job without its program, and a program that is right and one that is wrong."""

    job: CodeJob
    right: str
    wrong: str

    def ask(self, program: str, timeout_s: float | None = None) -> CodeJob:
        """The job for `program`. The usual time limit is short, for programs that will use it up."""
        return replace(self.job, program=program, timeout_s=timeout_s or self.job.timeout_s)


def _form(test: str, right: str, wrong: str, entry_point: str = "f", prelude: str = "", **how: object) -> Form:
    job = CodeJob("", entry_point, test, prelude, timeout_s=0.2)
    return Form(replace(job, **how), right, wrong)  # type: ignore[arg-type]


_POINT = """
class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def __eq__(self, other): return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)
    def __hash__(self): return hash((self.x, self.y))
    def same(self, other): return self == other
"""
_COLOR = "import enum\nclass Color(enum.Enum):\n    RED = 1\n    GREEN = 2\n"
_PAIR = "from typing import NamedTuple\nclass Pair(NamedTuple):\n    x: int\n    y: int\n"
_FROZEN = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Pair:
    x: object
    y: object = None
"""

FORMS: dict[str, Form] = {
    "equality": _form(ADD_TEST, "def add(a, b): return a + b", "def add(a, b): return 99", "add"),
    "asserts": _form(  # as MBPP has them
        "assert count([1, 2, 2], 2) == 2\nassert count([], 1) == 0\nassert pick({'a': [1]}, 'a') == [1]",
        "def count(xs, x): return xs.count(x)\ndef pick(d, k): return d[k]",
        "def count(xs, x): return 1\ndef pick(d, k): return d",
        "",
        names=("count", "pick"),
    ),
    "class": _form(  # as MBPP has them too
        "s = Stack()\ns.push(3)\ns.push(4)\nassert len(s) == 2\nassert s.pop() == 4\nassert s.items == [3]",
        """
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
""",
        "class Stack:\n    items = [4]\n    def push(self, x): pass\n    def pop(self): return 4\n    __len__ = pop",
        "",
        names=("Stack",),
    ),
    "stdin": _form(
        "def check(output):\n    assert output.split() == ['6', 'done']",
        "n = int(input())\nprint(sum(map(int, input().split())))\nprint('done')",
        "print(7)\nprint('done')",
        "",
        stdin="3\n1 2 3\n",
    ),
    "in place": _form(
        """
def check(candidate):
    xs, d = [3, 1, 2], {"a": 1}
    assert candidate(xs, d) is None
    assert xs == [1, 2, 3] and d == {"a": 1, "n": 3}
""",
        "def f(xs, d): xs.sort(); d['n'] = len(xs)",
        "def f(xs, d): xs.clear(); d.clear()",
        copy_back=True,
    ),
    "callback": _form(
        """
def check(candidate):
    seen = []
    def seven(x):
        seen.append(x)
        return 7 * x
    assert candidate(seven, [1, 2]) == [7, 14]
    assert seen == [1, 2]
""",
        "def f(g, xs): return [g(x) for x in xs]",
        "def f(g, xs): return [x for x in xs]",
    ),
    "raises": _form(
        """
def check(candidate):
    assert candidate(4) == 2
    try:
        candidate(-1)
    except ValueError as e:
        assert str(e) == "negative"
    else:
        assert False, "no ValueError"
""",
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return 2",
        "def f(x): return 2",
    ),
    "any exception": _form(
        """
def check(candidate):
    raised = False
    try:
        candidate(-1)
    except Exception:
        raised = True
    assert raised
    assert candidate(4) == 2
""",
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return 2",
        "def f(x): raise ValueError",
    ),
    "about": _form(
        """
import math
def check(candidate):
    assert abs(candidate(4) - 2.0) < 1e-6
    assert math.isclose(candidate(2), 1.41421356, rel_tol=1e-6)
    assert round(candidate(9), 3) == 3.0
    assert candidate(16) > 3.9 and candidate(16) < 4.1
""",
        "def f(x): return x ** 0.5",
        "def f(x): return x",
    ),
    "arrays": _form(
        """
import numpy as np
def check(candidate):
    assert np.allclose(candidate([1.0, 4.0]), [1.0, 2.0])
    assert np.array_equal(np.asarray(candidate([9.0])), np.array([3.0]))
""",
        "import numpy as np\ndef f(xs): return np.sqrt(xs)",
        "import numpy as np\ndef f(xs): return np.array(xs)",
        timeout_s=0.6,
    ),
    "contents": _form(
        """
def check(candidate):
    got = candidate("bca")
    assert isinstance(got, (list, tuple)) and len(got) == 3
    assert sorted(got) == ["a", "b", "c"] and "a" in got and got[0] == "a"
    assert got in (["a", "b", "c"], ("a", "b", "c"))
    assert max(got) == "c" and "".join(got) == "abc"
    assert set(got) == {"a", "b", "c"}
""",
        "def f(s): return sorted(s)",
        "def f(s): return list(s)",
    ),
    "prompt's class": _form(
        """
def check(candidate):
    got = candidate(Point(1, 2))
    assert got == Point(2, 1)
    assert Point(2, 1) == got
    assert got.same(Point(2, 1)) and got.x == 2
""",
        _POINT + "def f(p): return Point(p.y, p.x)",
        _POINT + "def f(p): return p",
        prelude=_POINT,
    ),
    "prompt's method": _form(
        "def check(candidate): assert candidate(Point(1, 2)).same(Point(2, 1))",
        _POINT + "def f(p): return Point(p.y, p.x)",
        _POINT + "def f(p): return p",
        prelude=_POINT,
    ),
    "items": _form(
        """
def check(candidate):
    assert list(candidate(4)) == [0, 1, 4, 9]
    got = candidate(3)
    assert next(got) == 0 and next(got) == 1 and next(got) == 4 and next(got, 'end') == 'end'
""",
        "def f(n): return (i * i for i in range(n))",
        "def f(n): return iter(range(n))",
    ),
    "closure": _form(
        "def check(candidate):\n    times = candidate(3)\n    assert times(4) == 12 and candidate(-1)(5) == -5",
        "def f(a): return lambda b: a * b",
        "def f(a): return lambda b: b",
    ),
    "asked again": _form(  # what the program answered goes back to it
        "def check(candidate): assert candidate(candidate('a') + candidate('b')) == 'ab'",
        "def f(x): return x",
        "def f(x): return x[:1]",
        timeout_s=2.0,
    ),
    "changing oracle": _form(  # the tests change what they passed before they compare
        "def check(candidate):\n    xs = [3, 1, 2]\n    got = candidate(xs)\n    xs.sort()\n    assert got == xs",
        "def f(xs): return sorted(xs)",
        "def f(xs): return xs[::-1]",
    ),
}
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


_FRAME = """
import json, os, struct
def frame(message, end=True):
    m = json.dumps(message).encode()
    os.write(3, struct.pack('!I', len(m)) + m)
    if end: os._exit(0)
"""


def _forged(message: str) -> str:
    """Writes its own answer to the channel, and ends."""
    return _FRAME + f"def add(a, b): frame({message})"


def _after(act: str) -> str:
    """Does something to what surrounds it, and answers wrong."""
    return f"""
import ctypes, fcntl, gc, os, resource, signal, socket, sys, threading, time
libc = ctypes.CDLL(None)
def add(a, b):
    try:
        {act}
    except Exception: pass
    return 99
"""


_EQUALITY_HACKS = {
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
    "right for the first call only": """
n = []
def add(a, b):
    n.append(1)
    return a + b if len(n) < 2 else 99
""",
    "no such function": "def ad(a, b): return a + b",
    "right only with the wrong name bound late": "add = 5",
    "does not parse": "def add(a, b) return a + b",
    # frames of its own making
    "claim that the sandbox is broken": _forged("['broken', 'no such tier']"),
    "claim that the sandbox is broken while loading": _FRAME + "frame(['broken', 'x'])",
    "raise SystemExit by message": _forged("['error', ['SystemExit', 'BaseException'], '0']"),
    "raise AssertionError by message": _forged("['error', ['AssertionError', 'Exception'], 'x']"),
    "raise what a grader might catch": _forged("['error', ['CandidateGone', 'TestBroken', '__class__', ''], '']"),
    "raise with no name": _forged("['error', [], '']"),
    "raise with a deep name": _forged("['error', {'d': [[[[]]]]}, {'d': 1}]"),
    "raise by names that are no exceptions": _forged("['error', ['print', 'exec', 'type', '__import__'], 'x']"),
    "call a function of the tests that is not there": _forged("['call', 0, [[[], {'d': []}], []]]"),
    "call a function of the tests by a negative number": _forged("['call', -1, [[[], {'d': []}], []]]"),
    "call a function of the tests by a name": _forged("['call', 'exit', [[[], {'d': []}], []]]"),
    "say that it passed": _forged("['passed', 'passed', '']"),
    "say nothing": _forged("[]"),
    "say null": _forged("None"),
    "answer with an invented handle": _forged("['ok', [{'o': 123456}, []]]"),
    "answer with a negative handle": _forged("['ok', [{'o': -1}, []]]"),
    "answer with a handle that is true": _forged("['ok', [{'o': True}, []]]"),
    "answer with an invented iterator": _forged("['ok', [{'n': 10**9}, []]]"),
    "answer with a type": _forged("['ok', [{'T': 'object'}, []]]"),
    "answer with a type that is none": _forged("['ok', [{'T': 'BaseException'}, []]]"),
    "answer with a name of the tests": _forged("['ok', [{'N': 'check'}, []]]"),
    "answer with a function of the tests": _forged("['ok', [{'g': 0}, []]]"),
    "answer with an instance of the tests": _forged("['ok', [{'x': 0}, [['check', {'d': ['__call__', 1]}]]]]"),
    "answer with an instance of a built-in": _forged("['ok', [{'x': 0}, [['object', {'d': []}]]]]"),
    "answer with two tags": _forged("['ok', [{'t': [], 'l': []}, []]]"),
    "answer with a huge array of text": _forged("['ok', [{'A': ['x' * 1000000] + ['a'] * 100000}, []]]"),
    "answer with a date out of range": _forged("['ok', [{'dt': [10**9, 99, 99]}, []]]"),
    "answer with a number that is none": _forged("['ok', [{'D': 'sNaN'}, []]]"),
    "answer with an unhashable key": _forged("['ok', [{'d': [[], 1]}, []]]"),
    "answer half, then end": "import os\ndef add(a, b): os.write(3, b'\\0\\0\\1\\0[\"ok\"'); os._exit(0)",
    "answer with no JSON": "import os\ndef add(a, b): os.write(3, b'\\0\\0\\0\\4okok'); os._exit(0)",
    "answer with no UTF-8": "import os\ndef add(a, b): os.write(3, b'\\0\\0\\0\\4\\xff\\xff\\xff\\xff'); os._exit(0)",
    "answer from a thread, all the time": _FRAME
    + """
import threading
def spam():
    while True: frame(['ok', [3, []]], end=False)
def add(a, b):
    threading.Thread(target=spam, daemon=True).start()
    return 99
""",
    "answer while loading, for all calls to come": _FRAME
    + """
for v in (None, 3, 6, 0): frame(['ok', [v, []]], end=False)
def add(a, b): return 99
""",
    "send descriptors along": """
import json, os, socket, struct
def add(a, b):
    m = json.dumps(['ok', [99, []]]).encode()
    socket.send_fds(socket.socket(fileno=3), [struct.pack('!I', len(m)) + m], [0, 1, 2] * 20)
    os._exit(0)
""",
    "shut the channel down": "import socket\ndef add(a, b): socket.socket(fileno=3).shutdown(2); return 99",
    "put another file in the channel's place": "import os\ndef add(a, b): os.dup2(0, 3); return 99",
    "rewrite its own half of the protocol": """
import gc, sys
def add(a, b):
    for o in gc.get_objects():
        if type(o).__name__ == '_Candidate':
            type(o).pack = lambda self, v: [True, []]
            type(o)._call = lambda *a: 3
    return 99
""",
    "empty every module": """
import gc, sys
def add(a, b):
    for m in list(sys.modules.values()):
        if m.__name__ != 'sys': m.__dict__.update({k: lambda *a, **k: True for k in list(m.__dict__) if k[:2] != '__'})
    return 99
""",
    # data that is not what it seems
    "not a number": "def add(a, b): return float('nan')",
    "a range of everything": "def add(a, b): return range(-10**18, 10**18)",
    "a decimal equal to everything": "from decimal import Decimal\n" + _ALWAYS % ("Decimal", "99"),
    "a fraction equal to everything": "from fractions import Fraction\n" + _ALWAYS % ("Fraction", "99"),
    "a deque equal to everything": "from collections import deque\n" + _ALWAYS % ("deque", "[99]"),
    "a counter equal to everything": "from collections import Counter\n" + _ALWAYS % ("Counter", "'no'"),
    "a dictionary equal to everything": _ALWAYS % ("dict", ""),
    "a tuple equal to everything": _ALWAYS % ("tuple", ""),
    "bytes equal to everything": _ALWAYS % ("bytes", ""),
    "a class equal to everything": """
class M(type):
    def __eq__(cls, other): return True
    def __hash__(cls): return 0
    def __bool__(cls): return False
    __name__ = 'int'
class int_(metaclass=M): pass
def add(a, b): return int_
""",
    "an object that lies about its class": """
class Liar:
    __class__ = property(lambda self: int)
    def __eq__(self, other): return True
    def __bool__(self): return False
    def __getattr__(self, name): return lambda *a: True
def add(a, b): return Liar()
""",
    "a class with the name of an exception": """
SystemExit = type('SystemExit', (Exception,), {})
def add(a, b): raise SystemExit(0)
""",
    "a group of exceptions": "def add(a, b): raise BaseExceptionGroup('x', [SystemExit(0)])",
    "skip as pytest does": "Skipped = type('Skipped', (BaseException,), {})\ndef add(a, b): raise Skipped",
    "integers without a limit": """
import sys
sys.set_int_max_str_digits(0)
def add(a, b): return 10 ** 200_000
""",
    "trace what runs": """
import sys
def peek(frame, event, arg):
    if 'expected' in frame.f_locals: frame.f_locals['expected'] = 99
    return peek
sys.settrace(peek)
def add(a, b): return 99
""",
    "listen to what runs": "import sys\nsys.addaudithook(lambda *a: exit(0))\ndef add(a, b): return open",
    "an annotation that is not defined": "def add(a: Undefined, b): return a + b",
    # what might stay for the next sample
    "leave files": _after("os.makedirs('/tmp/a/b'); open('/tmp/a/b/c', 'w').write('x'); os.symlink('/', '/tmp/root')"),
    "leave a file at once": "open('/tmp/left', 'w').close()\ndef add(a, b): return 99",
    "leave a file and set the clock back": _after("open('/tmp/l', 'w').close(); os.utime('/tmp', ns=(0, 0))"),
    "leave a folder nobody may enter": _after("os.makedirs('/tmp/a/b'); os.chmod('/tmp/a', 0); os.chmod('/tmp', 0)"),
    "leave a full folder": _after("open('/tmp/x', 'wb').write(bytes(60 << 20)); os.mkdir('/tmp/y')"),
    "leave a deep folder": _after("[(os.mkdir('d'), os.chdir('d')) for _ in range(2000)]"),
    "leave an attribute": _after("os.setxattr('/tmp', 'user.x', b'1'); os.chmod('/tmp', 0o777)"),
    "rename the private folder": _after("os.rename('/tmp', '/tmp2')"),
    "leave threads and a timer": _after(
        "threading.Thread(target=time.sleep, args=(9,)).start(); signal.setitimer(signal.ITIMER_REAL, 9)"
    ),
    "leave a lock on the library": _after("fcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX)"),
    "take away its own limits": _after(
        "[resource.setrlimit(k, (0, 0)) for k in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)]"
    ),
    "lower its own time": _after("resource.setrlimit(resource.RLIMIT_CPU, (0, 0)); [0 for _ in range(10**8)]"),
    "a storm of signals": _after(
        "signal.signal(14, lambda *a: 1 / 0); signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-4); time.sleep(0.05)"
    ),
    "change its own process": _after(
        "[libc.prctl(o, 1, 0, 0, 0) for o in (1, 4, 8, 36, 38, 41, 65)]; libc.umask(0o777)"
    ),
    "forbid itself every system call": _after("libc.prctl(38, 1, 0, 0, 0); libc.prctl(22, 1, 0, 0, 0)"),
    "leave descriptors in flight": _after(
        "pairs = [socket.socketpair() for _ in range(20)]; "
        "[socket.send_fds(a, [b'x'], [c.fileno() for p in pairs for c in p]) for a, _ in pairs]"
    ),
    "use all its memory": _after("kept = [bytearray(1 << 20) for _ in range(2000)]"),
    "use all its memory and keep it": "kept = []\ndef add(a, b):\n    while True: kept.append(bytearray(1 << 20))",
    "crash": "import ctypes\ndef add(a, b): ctypes.string_at(0)",
    "abort": "import os\ndef add(a, b): os.abort()",
    "overflow the stack": "import re\ndef add(a, b):\n    import sys; sys.setrecursionlimit(10**9); return add(a, b)",
}

HACKS: dict[str, dict[str, str]] = {
    "equality": _EQUALITY_HACKS,
    "asserts": {
        "exit": "import sys\ndef count(xs, x): sys.exit(0)\npick = count",
        "equal to everything": (_ALWAYS % ("object", "")).replace("add", "count") + "pick = count",
        "names that are no functions": (_ALWAYS % ("object", "")) + "count = pick = Always()",
        "one name right, one missing": "def count(xs, x): return xs.count(x)",
        "return the call that was made": "def count(*a): return a\npick = count",
        "a frame for each": _FRAME
        + """
def count(xs, x):
    for v in (2, 0, 'no'): frame(['ok', [v, []]], False)
    os._exit(0)
pick = count
""",
        "patch what asserts": """
import builtins
builtins.AssertionError = type('E', (SystemExit,), {'code': 0})
def count(*a): return 9
pick = count
""",
        "answer itself": "def count(*a): return count\npick = count",
    },
    "class": {
        "a class whose attributes say yes": """
class Yes:
    def __eq__(self, other): return True
class Stack:
    def __getattr__(self, name): return Yes()
    def push(self, x): pass
    def pop(self): return Yes()
    def __len__(self): return 2
""",
        "a length out of range": "class Stack:\n    def __len__(self): return 10**30\n    def push(self, x): pass",
        "a length below zero": _FRAME + "class Stack:\n    def push(self, x): frame(['ok', [-2, []]])",
        "a class that ends": "import os\nclass Stack:\n    def push(self, x): os._exit(0)",
        "items that grow": """
import itertools
class Stack:
    items = itertools.repeat(3)
    def push(self, x): pass
    def pop(self): return 4
    def __len__(self): return 2
""",
    },
    "stdin": {
        "print nothing": "",
        "print part of it": "print(6)",
        "print more": "print(6, 'done', 7)",
        "leave at once": "import os\nos._exit(0)",
        "exit with 0": "import sys\nsys.exit(0)",
        "redefine the check": "def check(output): pass\nprint('passed')",
        "give the check a text that is equal": (_ALWAYS % ("str", "'no'"))
        + "import sys\nsys.stdout.getvalue = lambda: type('T', (), {'split': lambda self: Always()})()",
        "make a sparse output of 60 MB": "import os\nos.ftruncate(1, 60 << 20)",
        "make an endless output": "import os\nwhile True: os.write(1, b'6 done ' * 4096)",
        "make an output beyond all limits": "import os\nos.ftruncate(4, 1 << 60)",
        "print right, then go on for ever": "print(6, 'done', flush=True)\nwhile True: pass",
        "print right, then raise": "print(6, 'done', flush=True)\nraise ValueError",
        "write where its output is read from": "import os\nos.pwrite(4, b'6 done 6 done', 0)",
        "take the output away": "import os\nprint(6, 'done', flush=True)\nos.ftruncate(4, 0)",
        "answer for the driver": _FRAME + "frame(['passed', 'passed', ''])",
        "claim that the sandbox is broken": _FRAME + "frame(['broken', 'x'])",
        "claim that all is well, then print": _FRAME + "frame(['ok', [None, []]], False)\nprint(7)",
        "no text": "import os\nos.write(1, bytes(range(256)) * 100)",
        "look for the expected output": "import gc\nprint([o for o in gc.get_objects() if 'done' in str(o)[:100]])",
    },
    "in place": {
        "objects instead of lists": _ALWAYS % ("list", "[99]")
        + "def f(xs, d): xs[:] = [Always()] * 3; d['n'] = Always()",
        "say that it copied": _FRAME + "def f(xs, d): frame(['ok', [[None, [[1, 2, 3]]], []]])",
        "say it with other types": _FRAME + "def f(xs, d): frame(['ok', [[None, [{'t': [1, 2, 3]}, 5]], []]])",
        "say no list": _FRAME + "def f(xs, d): frame(['ok', [{'o': 1}, []]])",
        "make the list endless": "import itertools\ndef f(xs, d): xs.append(itertools.count())",
        "make the arguments too long to send again": "def f(xs, d): xs[:] = ['x' * 1_000_000] * 9",
        "make the list hold itself": "def f(xs, d): xs.append(xs)",
        "exit": "def f(xs, d): raise SystemExit(0)",
    },
    "callback": {
        "call it too often": "def f(g, xs): return [g(x) and g(x) for x in xs]",
        "call it never": "def f(g, xs): return [7 * x for x in xs]",
        "call it for ever": "def f(g, xs):\n    while True: g(1)",
        "call it and end": "import os\ndef f(g, xs): g(1); os._exit(0)",
        "end in the middle of the call": _FRAME + "def f(g, xs): frame(['call', 0, [[[1], {'d': []}], []]])",
        "sleep in the middle of the call": "import time\ndef f(g, xs): g(1); time.sleep(60)",
        "call it with an endless iterator": "import itertools\ndef f(g, xs): return g(itertools.count())",
        "call one that is not there": _FRAME + "def f(g, xs): frame(['call', 7, [[[1], {'d': []}], []]])",
        "call one of an earlier sample": _FRAME + "def f(g, xs): frame(['call', -2, [[[1], {'d': []}], []]])",
        "call it with an object of its own": (_ALWAYS % ("int", "1"))
        + "def f(g, xs): return [g(Always()) for x in xs]",
        "answer with its own repetition": """
class R(list):
    __eq__ = lambda s, o: True
def f(g, xs): [g(x) for x in xs]; return R()
""",
        "nest calls without end": "def f(g, xs): return g(f) or f(g, xs)",
    },
    "raises": {
        "raise always": "def f(x): raise ValueError('negative')",
        "raise for wrong numbers with another name": """
def f(x):
    if x < 0: raise type('ValueError', (KeyError,), {})('negative')
    return 3
""",
        "raise AssertionError": "def f(x):\n    if x < 0: raise AssertionError('no ValueError')\n    return 2",
        "exit instead": "import sys\ndef f(x):\n    if x < 0: sys.exit(0)\n    return 2",
        "die instead": "import os\ndef f(x):\n    if x < 0: os._exit(0)\n    return 2",
        "return the exception": "def f(x): return ValueError('negative') if x < 0 else 2",
        "raise with a text that is equal": """
class S(str):
    __eq__ = lambda s, o: True
class V(ValueError):
    __str__ = lambda s: S('no')
def f(x):
    if x < 0: raise V
    return 2
""",
        "raise what is no exception of the tests": """
class V(Exception): pass
V.__name__ = 'Value'
def f(x):
    if x < 0: raise V('negative')
    return 2
""",
    },
    "any exception": {
        "die in the call": "import os\ndef f(x):\n    if x < 0: os._exit(0)\n    return 2",
        "kill itself in the call": "import os\ndef f(x):\n    if x < 0: os.kill(os.getpid(), 9)\n    return 2",
        "say nonsense in the call": _FRAME + "def f(x):\n    if x < 0: frame(['nonsense'])\n    return 2",
        "claim that the sandbox is broken": _FRAME + "def f(x):\n    if x < 0: frame(['broken', 'x'])\n    return 2",
        "sleep in the call": "import time\ndef f(x):\n    if x < 0: time.sleep(60)\n    return 2",
    },
    "about": {
        "not a number": "def f(x): return float('nan')",
        "endless": "def f(x): return float('inf')",
        "a float equal to everything": """
class F(float):
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = lambda self, *a: 0.0
    def __round__(self, *a): return F()
    def __lt__(self, other): return True
    __gt__ = __eq__ = __le__ = __ge__ = __lt__
    def __float__(self): return 1.41421356
def f(x): return F(99)
""",
        "an object that calculates as it likes": """
class O:
    def __sub__(self, other): return 0.0
    def __float__(self): return 1.41421356
    def __round__(self, *a): return 3.0
    def __lt__(self, other): return True
    __gt__ = __eq__ = __lt__
def f(x): return O()
""",
        "patch the mathematics": """
import builtins, math
builtins.abs = builtins.round = lambda *a: 0
math.isclose = lambda *a, **k: True
builtins.round = lambda *a: 3.0
def f(x): return 4
""",
        "a complex number": "def f(x): return complex(x ** 0.5, 1e-9)",
    },
    "arrays": {
        "an array equal to everything": """
import numpy as np
class A(np.ndarray):
    def __eq__(self, other): return np.array([True])
    def __array_function__(self, *a, **k): return True
def f(xs): return np.zeros(1).view(A)
""",
        "an array of objects": (_ALWAYS % ("object", ""))
        + """
import numpy as np
def f(xs): return np.array([Always()] * len(xs))
""",
        "an object that makes arrays": """
class O:
    def __array__(self, *a, **k): raise SystemExit(0)
    def __len__(self): return 1
    def __getitem__(self, i): return self
def f(xs): return O()
""",
        "patch numpy": "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\ndef f(xs): return 0",
        "not a number": "def f(xs): return [float('nan')] * len(xs)",
    },
    "contents": {
        "a list that contains everything": """
class L(list):
    def __contains__(self, x): return True
    def __eq__(self, other): return True
    def __len__(self): return 3
    def __iter__(self): return iter('abc')
    def __getitem__(self, i): return 'a'
    def __hash__(self): return 0
def f(s): return L('zzz')
""",
        "an object that contains everything": """
class O:
    __class__ = list
    def __contains__(self, x): return True
    def __eq__(self, other): return True
    def __len__(self): return 3
    def __iter__(self): return iter('abc')
    def __getitem__(self, i): return 'a'
    def __hash__(self): return 0
def f(s): return O()
""",
        "patch sorted, set and max": """
import builtins
builtins.sorted = lambda x: ['a', 'b', 'c']
builtins.set = lambda x: {'a', 'b', 'c'}
builtins.max = lambda x: 'c'
def f(s): return list('axc')
""",
        "strings equal to everything": (_ALWAYS % ("str", "'a'")) + "def f(s): return [Always(), Always(), Always()]",
        "other strings at every look": """
n = []
class L(list):
    def __iter__(self): return iter('abc')
def f(s): return L('bca')
""",
    },
    "prompt's class": {
        "a class of the same name": """
class Point:
    x = 2
    def __init__(self, *a): pass
    def __eq__(self, other): return True
    def same(self, other): return True
def f(p): return Point()
""",
        "a method in the instance": """
class Point: pass
def f(p):
    got = Point(); got.x, got.y = 2, 99
    got.same = lambda other: True
    return got
""",
        "a comparison in the instance": """
class Point: pass
def f(p):
    got = Point(); got.__dict__.update(x=2, y=9, same=print, __eq__=lambda o: True, __class__=int)
    return got
""",
        "attributes that are equal": (_ALWAYS % ("int", "2"))
        + """
class Point: pass
def f(p):
    got = Point(); got.x = got.y = Always(); return got
""",
        "attributes that are handles": (_ALWAYS % ("object", ""))
        + """
class Point: pass
def f(p):
    got = Point(); got.x = got.y = Always(); return got
""",
        "an instance by hand": _FRAME
        + "def f(p): frame(['ok', [{'x': 0}, [['Point', {'d': ['__dict__', {'d': []}]}]]]])",
        "an instance of another class": _FRAME + "def f(p): frame(['ok', [{'x': 0}, [['type', {'d': []}]]]])",
        "an instance of no text": _FRAME + "def f(p): frame(['ok', [{'x': 0}, [[['Point'], {'d': []}]]]])",
        "an instance that is not there": _FRAME + "def f(p): frame(['ok', [{'x': 5}, []]])",
        "attributes that are no names": _FRAME + "def f(p): frame(['ok', [{'x': 0}, [['Point', {'d': [5, 6]}]]]])",
        "attributes that are no dictionary": _FRAME + "def f(p): frame(['ok', [{'x': 0}, [['Point', [1, 2]]]]])",
        "an instance within itself": _FRAME
        + "def f(p): frame(['ok', [{'x': 0}, [['Point', {'d': ['x', {'x': 0}, 'y', {'x': 0}]}]]]])",
        "the same one changed": "class Point: pass\ndef f(p): p.x = 2; return p",
    },
    "prompt's method": {
        "a method in the instance": """
class Point: pass
def f(p):
    got = Point(); got.x, got.y = 9, 9
    got.same = lambda other: True
    return got
""",
        "the class in the instance": """
class Point: pass
class Yes:
    def same(self, other): return True
    def __eq__(self, other): return True
def f(p):
    got = Point(); got.__dict__.update(__class__=Yes, __eq__=print, x=Yes(), y=Yes())
    return got
""",
        "an object with such a method": (_ALWAYS % ("object", ""))
        + "Always.same = lambda self, other: Always()\ndef f(p): return Always()",
    },
    "items": {
        "no end": "import itertools\ndef f(n): return itertools.count()",
        "no end of large ones": "def f(n):\n    while True: yield 'x' * 100_000",
        "more than was asked for": _FRAME
        + """
def f(n):
    frame(['ok', [{'n': 0}, []]], False)
    while True:
        os.read(3, 9999)
        frame(['ok', [list(range(100000)), []]], False)
""",
        "items that are equal": (_ALWAYS % ("int", "0")) + "def f(n): return (Always() for _ in range(n))",
        "no list of items": _FRAME
        + """
def f(n):
    frame(['ok', [{'n': 0}, []]], False); os.read(3, 9999); frame(['ok', [{'d': []}, []]])
""",
        "raise at the end": "def f(n):\n    yield 0\n    raise StopIteration",
        "exit among the items": "import sys\ndef f(n):\n    yield 0\n    sys.exit(0)",
        "exit in next": """
import os
class I:
    def __iter__(self): return self
    def __next__(self): os._exit(0)
def f(n): return I()
""",
        "iterators of iterators": "def f(n):\n    while True: yield f(n)",
    },
    "closure": {
        "answer with yes": (_ALWAYS % ("object", "")) + "def f(a): return lambda b: Always()",
        "a closure of closures": "def f(a): return f",
        "a closure that exits": "import sys\ndef f(a): return lambda b: sys.exit(0)",
        "a closure that is a type": "def f(a): return int",
        "a type with a lying call": """
class C:
    def __new__(cls, *a): return cls
    __eq__ = classmethod(lambda *a: True)
def f(a): return C
""",
        "one object for all": """
class C:
    def __call__(self, b): return self
    __eq__ = lambda *a: True
c = C()
def f(a): return c
""",
    },
    "asked again": {
        "texts too long to be sent again": "def f(x): return 'x' * 20_000_000",
        "a text that adds up": """
class S(str):
    __add__ = lambda self, other: self
    __eq__ = lambda self, other: True
def f(x): return S('no')
""",
        "objects that add up": """
class O:
    __add__ = lambda self, other: self
    __eq__ = lambda self, other: True
def f(x): return O()
""",
    },
    "changing oracle": {
        "give back what the tests will change": "def f(xs): return xs",
        "change what it was given": "def f(xs): xs.clear(); return xs",
        "keep it and change it later": """
import threading, time
def f(xs):
    threading.Thread(target=lambda: (time.sleep(.01), xs.sort())).start()
    return xs
""",
    },
}

_READING = "import sys\n"
CONTROLS: dict[str, dict[str, str]] = {
    "equality": {
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
        "patches a builtin for itself": """
import builtins
builtins.print = lambda *a: None
def add(a, b): return a + b
""",
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
        "numpy's numbers": """
import numpy as np  # needs most of the time
def add(a, b):
    if isinstance(a, (int, float)): return np.float64(a) + np.float64(b)
    return a + b
""",
        "decimals and fractions": """
from decimal import Decimal
from fractions import Fraction
def add(a, b):
    if isinstance(a, int): return Fraction(a) + Fraction(b)
    if isinstance(a, float): return Decimal(a) + Decimal(b)
    return a + b
""",
        "a large integer on the way": """
def add(a, b):
    big = 10 ** 5000
    return a + b if str(big)[0] else None
import sys
sys.set_int_max_str_digits(0)
""",
        "names in other alphabets": "def summe_größe(ä, β): return ä + β\nadd = summe_größe",
        "temporary memory and garbage": """
def add(a, b):
    x = [bytearray(1 << 20) for _ in range(30)]; del x
    return a + b
""",
        "a signal of its own": """
import signal, os
signal.signal(10, lambda *a: None)
def add(a, b): os.kill(os.getpid(), 10); return a + b
""",
        "random numbers and the clock": """
import random, time, uuid, secrets
def add(a, b): random.random(), time.time(), uuid.uuid4(), secrets.token_hex(); return a + b
""",
        "a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
def add(a, b):
    with ThreadPoolExecutor(4) as pool: return list(pool.map(lambda x: x[0] + x[1], [(a, b)] * 4))[0]
""",
        "a pair of sockets and a selector": """
import selectors, socket
def add(a, b):
    x, y = socket.socketpair(); x.send(b'1')
    s = selectors.DefaultSelector(); s.register(y, 1); assert s.select(1); x.close(); y.close(); return a + b
""",
        "annotations that are objects": "def add(a: int, b): return a + b if add.__annotations__ == {'a': int} else 0",
        "a method of a class by its path": "class add:\n    def __new__(cls, a, b): return a + b",
        "code made while it runs": "exec('def add(a, b): return eval(\\'a + b\\')')",
    },
    "asserts": {
        "imports and a wildcard": """
from typing import *
from math import *
def count(xs: List[int], x: int) -> int:
    return len([y for y in xs if y == x])
def pick(d: Dict, k): return d.get(k)
""",
        "a Counter and a defaultdict": """
from collections import Counter, defaultdict
def count(xs, x): return Counter(xs)[x]
def pick(d, k): return defaultdict(list, d)[k]
""",
        "a main block with its own asserts": """
def count(xs, x): return xs.count(x)
def pick(d, k): return d[k]
if __name__ == '__main__': assert count([], 1) == 5
""",
        "a cached function": """
from functools import lru_cache
@lru_cache
def c(xs, x): return xs.count(x)
def count(xs, x): return c(tuple(xs), x)
pick = dict.__getitem__
""",
    },
    "class": {
        "slots and properties": """
class Stack:
    __slots__ = ('_items',)
    def __init__(self): self._items = []
    items = property(lambda self: list(self._items))
    def push(self, x): self._items.append(x)
    def pop(self): return self._items.pop()
    def __len__(self): return len(self._items)
""",
        "a subclass of list": "class Stack(list):\n    push = list.append\n    items = property(list)",
        "a dataclass": """
from dataclasses import dataclass, field
@dataclass
class Stack:
    items: list = field(default_factory=list)
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
""",
    },
    "stdin": {
        "read all at once": """
import sys
n, *xs = map(int, sys.stdin.read().split())
print(sum(xs), 'done', sep='\\n')
""",
        "read by descriptor": """
import os
n, *xs = map(int, os.read(0, 1 << 16).split())
os.write(1, b'%d done' % sum(xs))
""",
        "open descriptor 0": "n, *xs = map(int, open(0).read().split())\nprint(sum(xs), 'done')",
        "read bytes, write bytes": "import sys\nn, *xs = map(int, sys.stdin.buffer)\n"
        if False
        else """
import sys
xs = sys.stdin.buffer.read().split()[1:]
sys.stdout.buffer.write(b'%d done' % sum(map(int, xs)))
""",
        "read line by line": """
import sys
input = sys.stdin.readline
input()
print(sum(int(x) for l in sys.stdin for x in l.split()), 'done')
""",
        "a main function": """
def main():
    input(); print(sum(map(int, input().split())), 'done')
if __name__ == '__main__': main()
""",
        "sys.exit at the end": "import sys\ninput(); print(sum(map(int, input().split())), 'done'); sys.exit(0)",
        "sys.exit with a text": "import sys\ninput(); print(sum(map(int, input().split())), 'done'); sys.exit('bye')",
        "exit() at the end": "input(); print(sum(map(int, input().split())), 'done'); exit()",
        "quit() at the end": "input(); print(sum(map(int, input().split())), 'done'); quit(0)",
        "leave at once after a flush": """
import os
input(); print(sum(map(int, input().split())), 'done', flush=True); os._exit(0)
""",
        "a thread with a large stack": """
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 26)
def main(): input(); print(sum(map(int, input().split())), 'done')
t = threading.Thread(target=main)
t.start()
t.join()
""",
        "a thread nobody joins": """
import threading, time
def main(): time.sleep(0.02); input(); print(sum(map(int, input().split())), 'done')
threading.Thread(target=main).start()
""",
        "print at exit": """
import atexit
atexit.register(lambda: print('done'))
input(); print(sum(map(int, input().split())))
""",
        "an output of its own": """
import io, sys, atexit, os
out = sys.stdout = io.StringIO()
input(); print(sum(map(int, input().split())), 'done')
os.write(1, out.getvalue().encode())
""",
        "close its output": "import sys\ninput(); print(sum(map(int, input().split())), 'done'); sys.stdout.close()",
        "end by end of file": """
try:
    xs = []
    while True: xs += input().split()
except EOFError: print(sum(map(int, xs[1:])), 'done')
""",
        "complaints beside the output": """
import sys, warnings
print('?', file=sys.stderr); warnings.warn('!')
input(); print(sum(map(int, input().split())), 'done')
""",
    },
    "in place": {
        "swap by hand": "def f(xs, d):\n    xs[0], xs[1], xs[2] = xs[1], xs[2], xs[0]\n    d |= {'n': 3}",
        "slices and update": "def f(xs, d): xs[:] = sorted(xs); d.update(n=len(xs))",
        "numpy on the way": "import numpy as np\ndef f(xs, d): xs[:] = np.sort(xs).tolist(); d['n'] = np.int64(3)",
    },
    "callback": {
        "map and list": "def f(g, xs): return list(map(g, xs))",
        "through a partial": "import functools\ndef f(g, xs): return [functools.partial(g, x)() for x in xs]",
        "from a thread": """
import threading
def f(g, xs):
    out = []
    t = threading.Thread(target=lambda: out.extend(map(g, xs))); t.start(); t.join(); return out
""",
        "from a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
def f(g, xs):
    with ThreadPoolExecutor(2) as pool: return list(pool.map(g, xs))
""",
        "as a decorator": """
import functools
def f(g, xs):
    @functools.lru_cache
    def h(x): return g(x)
    return [h(x) for x in xs + xs][:2]
""",
    },
    "raises": {
        "an exception of its own": """
class Negative(ValueError): pass
def f(x):
    if x < 0: raise Negative('negative')
    return 2
""",
        "raised from another": """
def f(x):
    try: return {4: 2}[x]
    except KeyError as e: raise ValueError('negative') from e
""",
        "an exception with arguments": """
class Negative(ValueError):
    def __init__(self, x, y): super().__init__('negative')
def f(x):
    if x < 0: raise Negative(x, 0)
    return 2
""",
    },
    "any exception": {
        "assert as a guard": "def f(x):\n    assert x >= 0, 'negative'\n    return 2",
        "an exception of its own": "class E(Exception): pass\ndef f(x):\n    if x < 0: raise E\n    return 2",
        "division by zero": "def f(x): return 2 if x > 0 else 1 // 0",
        "too deep": "def f(x): return 2 if x > 0 else f(x - 1)",
    },
    "about": {
        "numpy's numbers": "import numpy as np\ndef f(x): return np.sqrt(x)",
        "by Newton": "def f(x):\n    g = 1.0\n    for _ in range(60): g = (g + x / g) / 2\n    return g",
        "fractions": """
from fractions import Fraction
def f(x):
    g = Fraction(1)
    for _ in range(6): g = (g + x / g) / 2
    return g
""",
    },
    "arrays": {
        "lists": "def f(xs): return [x ** 0.5 for x in xs]",
        "a subclass of an array": """
import numpy as np
class A(np.ndarray): pass
def f(xs): return np.sqrt(np.array(xs)).view(A)
""",
    },
    "contents": {
        "a tuple": "def f(s): return tuple(sorted(s))",
        "a named tuple": """
from collections import namedtuple
T = namedtuple('T', 'x y z')
def f(s): return T(*sorted(s))
""",
        "a subclass of list": "class L(list):\n    def __repr__(self): return 'L'\ndef f(s): return L(sorted(s))",
    },
    "prompt's class": {
        "the class as it stands in the prompt": _POINT + "def f(p): return Point(x=p.y, y=p.x)",
        "a copy": _POINT + "import copy\ndef f(p):\n    q = copy.deepcopy(p); q.x, q.y = p.y, p.x; return q",
        "more attributes than needed": _POINT
        + """
def f(p):
    q = Point(p.y, p.x); q.name, q.seen = 'q', {1: [p]}; return q
""",
    },
    "prompt's method": {
        "a method more": _POINT + "Point.swap = lambda self: Point(self.y, self.x)\nf = Point.swap",
    },
    "items": {
        "an endless generator, cut": """
import itertools
def f(n): return itertools.islice((i * i for i in itertools.count()), n)
""",
        "a class with __next__": """
class I:
    def __init__(self, n): self.i, self.n = -1, n
    def __iter__(self): return self
    def __next__(self):
        self.i += 1
        if self.i >= self.n: raise StopIteration
        return self.i ** 2
def f(n): return I(n)
""",
        "map": "def f(n): return map(lambda i: i * i, range(n))",
    },
    "closure": {
        "a partial": "import functools, operator\ndef f(a): return functools.partial(operator.mul, a)",
        "a bound method": "def f(a): return a.__mul__",
        "an object": """
class T:
    def __init__(self, a): self.a = a
    def __call__(self, b): return self.a * b
def f(a): return T(a)
""",
        "state": """
def f(a):
    n = 0
    def g(b):
        nonlocal n
        n += 1
        return a * b * n
    return g
""",
    },
    "changing oracle": {
        "sorts in place too": "def f(xs): xs.sort(); return xs",
    },
}
ODD: dict[str, CodeJob] = {  # right answers to tests of their own
    "an enumeration of the prompt's": CodeJob(
        _COLOR + "def f(c): return Color.GREEN if c is Color.RED else Color.RED",
        "f",
        "def check(c): assert c(Color.RED) is Color.GREEN and c(Color.GREEN) == Color.RED",
        _COLOR,
    ),
    "a named tuple of the prompt's": CodeJob(
        _PAIR + "def f(p): return Pair(p.y, p.x)",
        "f",
        "def check(c):\n    got = c(Pair(1, 2))\n    assert got == Pair(2, 1) and got.x == 2",
        _PAIR,
    ),
    "a dataclass of the prompt's": CodeJob(
        _FROZEN + "def f(p): return Pair(p.y, Pair(p.x))",
        "f",
        "def check(c): assert c(Pair(1, 2)) == Pair(2, Pair(1)) and hash(c(Pair(1, 2)).y)",
        _FROZEN,
    ),
    "an exception of the prompt's": CodeJob(
        "class Empty(Exception): pass\ndef f(): raise Empty('nothing')",
        "f",
        "def check(c):\n    try: c()\n    except Empty as e: assert str(e) == 'nothing'\n    else: assert 0",
        "class Empty(Exception): pass",
    ),
    "the text of a KeyError": CodeJob(
        "def f(): return {}['k']",
        "f",
        "def check(c):\n    try: c()\n    except KeyError as e: assert str(e) == \"'k'\"\n    else: assert 0",
    ),
    "a type and a list to change": CodeJob(
        "def f(kind, xs): xs.append(1); return [x for x in xs if type(x) is kind]",
        "f",
        """
def check(c):
    xs = [2, 'a']
    assert c(int, xs) == [2, 1] and xs == [2, 'a', 1]
""",
        copy_back=True,
    ),
    "an array to change": CodeJob(
        "def f(a): a.sort()",
        "f",
        """
import numpy as np
def check(c):
    a = np.array([3, 1, 2])
    c(a)
    assert a.tolist() == [1, 2, 3]
""",
        copy_back=True,
    ),
    "a deque to change": CodeJob(
        "def f(q): q.append(q.popleft())",
        "f",
        """
from collections import deque
def check(c):
    q = deque([1, 2])
    c(q)
    assert list(q) == [2, 1]
""",
        copy_back=True,
    ),
    "a list to change, given by name": CodeJob(
        "def f(xs): xs.sort()",
        "f",
        """
def check(c):
    xs = [2, 1]
    c(xs=xs)
    assert xs == [1, 2]
""",
        copy_back=True,
    ),
    "lists within a list to change": CodeJob(
        "def f(m): m[0][1], m[1][0] = m[1][0], m[0][1]",
        "f",
        "def check(c):\n    m = [[1, 2], [3, 4]]\n    c(m)\n    assert m == [[1, 3], [2, 4]]",
        copy_back=True,
    ),
    "a time with its zone": CodeJob(
        "from datetime import *\ndef f(t): return t + timedelta(hours=1)",
        "f",
        """
from datetime import *
def check(c):
    t = datetime(2020, 1, 1, tzinfo=timezone.utc)
    assert c(t) == t + timedelta(hours=1)
""",
    ),
    "a generator that fails after what was asked": CodeJob(
        "def f():\n    yield from (1, 2, 3, 4)\n    raise ValueError",
        "f",
        "def check(c):\n    got = c()\n    assert [next(got) for _ in range(4)] == [1, 2, 3, 4]",
    ),
    "an endless generator": CodeJob(
        "def f():\n    a, b = 0, 1\n    while True:\n        yield a\n        a, b = b, a + b",
        "f",
        "from itertools import islice\ndef check(c): assert list(islice(c(), 90, 92))[1] == 4660046610375530309",
    ),
    "a method by its path": CodeJob(
        "class Solution:\n    def add(self, a, b): return self.plus(a, b)\n    def plus(self, a, b): return a + b",
        "Solution.add",
        "def check(c): assert c(1, 2) == 3 and c(a=1, b=5) == 6",
    ),
    "a sort by the program's function": CodeJob(
        "def f(x): return -x",
        "f",
        "def check(c): assert sorted([1, 3, 2], key=c) == [3, 2, 1] and max([1, 2], key=c) == 1",
    ),
    "data of all kinds": CodeJob(
        "def f(x): return x",
        "f",
        """
import math
from collections import Counter, deque
from decimal import Decimal
from fractions import Fraction
def check(c):
    for x in (10**3000, -0.0, math.inf, 'naïve \\ud800', b'\\0', {1: {2}}, (1, (2,)), range(3), 1j, deque([1]), None,
              Counter('aab'), Decimal('0.10'), Fraction(1, 3), frozenset('a'), {'k': [(), {}]}, {(1, 2): {3: 4}}):
        assert c(x) == x and type(c(x)) is type(x) and repr(c(x)) == repr(x), x
    assert math.isnan(c(math.nan)) and c(int) is int
""",
    ),
    "10,000 calls": CodeJob(
        "def f(x): return x + 1", "f", "def check(c): assert sum(map(c, range(10_000))) == 50005000"
    ),
    "a long answer": CodeJob("def f(n): return list(range(n))", "f", "def check(c): assert c(300_000)[-1] == 299_999"),
    "calls of the tests' function from many threads": CodeJob(
        """
from concurrent.futures import ThreadPoolExecutor
def f(g, xs):
    with ThreadPoolExecutor(4) as pool: return list(pool.map(g, xs))
""",
        "f",
        "def check(c): assert c(lambda x: x * x, list(range(60))) == [x * x for x in range(60)]",
        timeout_s=0.5,
    ),
    "trees built by the tests": CodeJob(
        """
class Node:
    def __init__(self, v): self.v, self.left, self.right = v, None, None
def total(n): return n.v + total(n.left) + total(n.right) if n else 0
""",
        "",
        """
root = Node(1)
root.left = Node(2)
root.left.right = Node(4)
assert total(root) == 7 and root.left.v == 2
""",
        names=("Node", "total"),
    ),
}
