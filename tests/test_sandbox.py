"""The sandbox: nothing gets out, nothing fools it, and what is right passes."""

from __future__ import annotations

import math
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from sandbox_attacks import ADD_TEST, ATTACKS, CONTROLS, HACKS, SLOW_ATTACKS

from harness.errors import SandboxError
from harness.protocols import CodeJob
from harness.sandbox import Sandbox
from harness.sandbox.wire import decode, encode

# Attacks that do no lasting harm unconfined, used to prove that the attack programs themselves work.
HARMLESS = (
    "read the password file",
    "read a file by name",
    "read a file with a raw system call",
    "read through dot-dot",
    "write a file",
    "make a file world-writable",
    "set a file's times",
    "truncate a file",
    "fork",
    "raw clone",
    "run a shell",
    "start a process by multiprocessing",
    "kill a stranger",
    "renice a stranger",
    "lower a stranger's limits",
    "read a stranger's environment",
    "list processes",
    "outlive the parent",
    "open a UDP socket",
    "open a Unix socket",
    "make shared memory",
    "make a memory file",
    "see the environment",
)


@pytest.fixture(scope="module", params=["T1", "T2"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    try:
        runner = Sandbox(1, tier=request.param)
    except SandboxError as e:
        pytest.skip(str(e))
    with runner:
        yield runner


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file everybody on this machine may read and write, in a folder everybody may enter and change."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder, "canary")
        path.write_text("secret")
        path.chmod(0o666)
        yield path


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def attack_job(program: str, canary: Path, victim: int, timeout_s: float = 1.0) -> CodeJob:
    test = f"""
    def check(candidate):
        try:
            said = candidate({str(canary)!r}, {victim})
        except Exception as e:
            said = type(e).__name__
        if said == "escaped":
            raise RuntimeError("escaped")
    """
    return CodeJob(program, "act", textwrap.dedent(test), timeout_s=timeout_s)


def add_job(program: str) -> CodeJob:
    return CodeJob(program, "add", ADD_TEST, timeout_s=2.0)


def run_all(sandbox: Sandbox, programs: dict[str, str]) -> dict[str, tuple[bool | None, str]]:
    results = {name: sandbox.run(add_job(program)) for name, program in programs.items()}
    return {name: (r.passed, r.why) for name, r in results.items()}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained(sandbox: Sandbox, name: str, canary: Path, victim: subprocess.Popen[bytes]) -> None:
    before = canary.stat()
    result = sandbox.run(attack_job(ATTACKS[name], canary, victim.pid))
    assert "escaped" not in result.why
    assert result.passed is not None, result.why
    after = canary.stat()
    assert (after.st_mode, after.st_size, after.st_mtime_ns) == (before.st_mode, before.st_size, before.st_mtime_ns)
    assert victim.poll() is None
    assert os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert sandbox.run(add_job(CONTROLS["plain"])).passed


@pytest.mark.parametrize("name", HARMLESS)
def test_the_same_attack_succeeds_outside_the_sandbox(name: str, canary: Path, victim: subprocess.Popen[bytes]) -> None:
    program = ATTACKS[name] + f"\nprint(act({str(canary)!r}, {victim.pid}), flush=True)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert "escaped" in done.stdout, done.stderr


@pytest.mark.parametrize("name", SLOW_ATTACKS)
def test_a_program_that_does_not_end_is_ended_promptly(
    sandbox: Sandbox, name: str, canary: Path, victim: subprocess.Popen[bytes]
) -> None:
    started = time.monotonic()
    result = sandbox.run(attack_job(SLOW_ATTACKS[name], canary, victim.pid, timeout_s=0.2))
    assert result.passed is False
    assert result.why == ("timeout: over 2.8 s by the clock" if name == "sleep" else "timeout: over 0.2 s of CPU time")
    assert time.monotonic() - started < 4 * 0.2 + 2 + 1.0
    assert result.cpu_s < 0.4


def test_no_hack_passes(sandbox: Sandbox) -> None:
    assert len(HACKS) >= 40
    results = run_all(sandbox, HACKS)
    assert {name: r for name, r in results.items() if r[0] is not False} == {}


def test_right_but_unusual_programs_pass(sandbox: Sandbox) -> None:
    results = run_all(sandbox, CONTROLS)
    assert {name: r for name, r in results.items() if not r[0]} == {}


SCAN = """
import ctypes, os, re
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
MINE = {mine!r}

def memory():
    "Every page that can be read near the heap and near Python's own arenas; write() probes without a crash."
    inner, outer = os.pipe()
    def page(address):
        if libc.write(outer, ctypes.c_void_p(address), 4096) == 4096:
            return os.read(inner, 4096)
        return b"|"
    top = libc.sbrk(0) & ~4095
    near = id(object()) & ~4095
    for start, end in ((top - (24 << 20), top), (near - (24 << 20), near + (24 << 20))):
        yield b"".join(page(a) for a in range(start, end, 4096))

def found():
    needle = b"CANARY" + b"-[0-9a-f]{{16}}"
    return sorted({{m.decode() for block in memory() for m in re.findall(needle, block)}})
"""


def test_a_program_finds_no_test_in_its_memory_neither_its_own_nor_an_earlier_one(sandbox: Sandbox) -> None:
    mine, others = f"CANARY-{secrets.token_hex(8)}", [f"CANARY-{secrets.token_hex(8)}" for _ in range(5)]
    for secret in others[1:]:
        sandbox.run(CodeJob("def add(a, b): pass", "add", ADD_TEST + f"SECRET = {secret!r} * 200\n", f"S = {secret!r}"))
    test = f"SECRET = {others[0]!r}\ndef check(candidate):\n    raise RuntimeError(' '.join(candidate()))"
    found = sandbox.run(CodeJob(SCAN.format(mine=mine), "found", test, f"SECRET = {others[0]!r}")).why
    assert mine in found  # the scan works: it finds what the program itself contains
    assert [secret for secret in others if secret in found] == []


def test_ids_differ_from_the_users_and_the_sample_is_alone(sandbox: Sandbox) -> None:
    program = "import os, socket\ndef look(): return os.getuid(), os.getpid(), socket.gethostname(), os.getcwd()"
    result = sandbox.run(CodeJob(program, "look", "def check(c): raise RuntimeError(str(c()))"))
    if sandbox.tier.startswith("T1"):
        assert result.why.startswith("RuntimeError: (1000, 1, ")
    elif os.getuid() == 0:
        assert re.match(r"RuntimeError: \(6[01]\d\d\d, ", result.why)


def test_the_private_folder_is_empty_for_every_sample_in_t1() -> None:
    program = "import os\ndef use():\n    seen = os.listdir('/tmp'); open('/tmp/left', 'w').write('x'); return seen"
    with Sandbox(1, tier="T1") as sandbox:
        for _ in range(2):
            assert sandbox.run(CodeJob(program, "use", "def check(c): assert c() == []")).passed


def test_the_weakest_tier_must_be_asked_for_and_says_what_it_is(canary: Path) -> None:
    with pytest.raises(SandboxError, match="allow_weak=True"):
        Sandbox(1, tier="T3")
    with Sandbox(1, tier="T3", allow_weak=True) as sandbox:
        assert sandbox.tier == "T3 rlimits+seccomp"
        assert "escaped" in sandbox.run(attack_job(ATTACKS["read a file by name"], canary, 1)).why
        for name in ("write a file", "fork", "open a UDP socket", "delete a file", "make a file world-writable"):
            assert "escaped" not in sandbox.run(attack_job(ATTACKS[name], canary, 1)).why
        assert sandbox.run(add_job(CONTROLS["plain"])).passed


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(SandboxError, match="tier must be one of T1, T2, T3, got 'T4'"):
        Sandbox(1, tier="T4")


def test_the_probe_names_the_tier_that_a_sandbox_takes() -> None:
    tier, why = Sandbox.probe()
    with Sandbox(1) as sandbox:
        assert tier == sandbox.tier
    assert why


def test_a_tier_that_is_refused_is_named_with_the_reason() -> None:
    """In a process that may make no user namespace, T1 is refused aloud and T2 is taken."""
    program = textwrap.dedent("""
        import ctypes, struct
        from harness.sandbox import Sandbox, kernel
        libc = ctypes.CDLL(None, use_errno=True)
        upto = kernel._stop(0x15, kernel._number("clone3"), 0, 1)
        program = kernel._filter_template(["unshare"], False).split(upto)[0] + kernel._ALLOW
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, ctypes.byref(kernel._SockFprog(len(program) // 8, program)), 0, 0) == 0
        print(*Sandbox.probe(), sep="|")
        try: Sandbox(1, tier="T1")
        except Exception as e: print(e)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert first == "T2 landlock+seccomp|T1 refused: user namespaces: unshare: Operation not permitted"
    assert second.startswith(
        "no isolation strong enough: T1 refused: user namespaces: unshare: Operation not permitted; allow"
    )


def test_a_worker_that_was_killed_or_stopped_takes_no_sample_with_it() -> None:
    with Sandbox(1) as sandbox:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            worker = sandbox._idle.queue[0]
            assert worker is not None
            os.kill(worker._process.pid, number)
            assert sandbox.run(CodeJob(CONTROLS["plain"], "add", ADD_TEST, timeout_s=0.01)).passed is not None
            assert sandbox.run(add_job(CONTROLS["plain"])).passed


def test_many_threads_share_the_workers_and_each_gets_its_own_verdict() -> None:
    jobs = [CodeJob(f"def f(x): return x * {i}", "f", f"def check(c): assert c(3) == {3 * (i % 7)}") for i in range(60)]
    with Sandbox(2) as sandbox, ThreadPoolExecutor(8) as pool:
        assert [r.passed for r in pool.map(sandbox.run, jobs)] == [i < 7 for i in range(60)]


def test_a_closed_sandbox_refuses_and_leaves_no_process() -> None:
    sandbox = Sandbox(1)
    worker = sandbox._idle.queue[0]
    assert worker is not None
    sandbox.close()
    sandbox.close()
    assert worker._process.returncode is not None
    with pytest.raises(SandboxError, match="this sandbox is closed"):
        sandbox.run(add_job(CONTROLS["plain"]))


def test_no_process_outlives_the_program_that_made_the_sandbox() -> None:
    program = textwrap.dedent("""
        import os, threading, time
        from harness.protocols import CodeJob
        from harness.sandbox import Sandbox
        sandbox = Sandbox(1)
        print(sandbox._idle.queue[0]._process.pid, flush=True)
        job = CodeJob("import time\\ndef f(): time.sleep(60)", "f", "def check(c): c()", timeout_s=60)
        threading.Thread(target=sandbox.run, args=(job,), daemon=True).start()
        time.sleep(0.5)
        os._exit(1)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    session = int(done.stdout)
    for _ in range(50):
        alive = subprocess.run(["ps", "-o", "pid=", "--sid", str(session)], capture_output=True, text=True, check=False)
        orphans = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        if not alive.stdout.strip() and str(session) not in orphans.split():
            return
        time.sleep(0.1)
    pytest.fail(f"still running: {alive.stdout}")


def test_a_broken_test_program_says_nothing_about_the_candidate(sandbox: Sandbox) -> None:
    for test in ("def check(candidate:", "def chek(candidate): pass"):
        result = sandbox.run(CodeJob("def f(): pass", "f", test))
        assert result.passed is None
        assert result.why.startswith("sandbox: the trusted test program")


def test_a_reason_never_holds_the_expected_value(sandbox: Sandbox) -> None:
    result = sandbox.run(CodeJob("def f(): return 1", "f", "def check(c): assert c() == 7351, 'want 7351'"))
    assert (result.passed, result.why) == (False, "assertion failed")


def test_helpers_of_the_prompt_serve_the_test_and_errors_keep_their_type(sandbox: Sandbox) -> None:
    test = """
def check(candidate):
    assert [candidate(double(i)) for i in range(3)] == [0, 2, 4] and f(4) == 4
    try:
        candidate(-1)
    except ValueError as e:
        assert str(e) == "negative"
    else:
        assert False
"""
    program = "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x"
    assert sandbox.run(CodeJob(program, "f", test, "def double(x): return 2 * x\ndef f(x): 'doc'")).passed


def test_memory_and_output_of_a_program_do_not_grow_ours(sandbox: Sandbox) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for program in (HACKS["answer with 100 MB"], "print('x' * 100_000_000)\ndef add(a, b): return a + b"):
        sandbox.run(add_job(program))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert not sandbox.run(add_job("x = 1 #" + "x" * 600_000)).passed


VALUES = [
    *(None, True, 0, -1, 2**63, -(2**200), 1.5, -0.0, math.inf, "", "é\udc80", b"\x00\xff", bytearray(b"x"), 1 + 2j),
    *((1, (2, [3])), [], [[], ()], {1, 2}, frozenset({"a"}), {(1, 2): {"k": None}, 3: []}, range(1, 9, 3)),
    *(Decimal("1.10"), Fraction(2, 3)),
]


def refuse(value: object) -> int:
    raise TypeError(type(value).__name__)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_data_arrives_as_it_left(value: object) -> None:
    back = decode(encode(value, refuse), refuse)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_arrives_as_nan_and_an_iterator_as_an_iterator() -> None:
    assert math.isnan(decode(encode(float("nan"), refuse), refuse))
    back = decode(encode((i for i in range(3)), refuse), refuse)
    assert back != [0, 1, 2]
    assert list(back) == [0, 1, 2]


@pytest.mark.parametrize("wire", [{"x": 1}, {"t": [1], "l": []}, {}, {"i": 5}, {"i": "f" * 300_000}, {"b": 1}])
def test_data_that_no_encoder_writes_is_refused(wire: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(wire, refuse)


def test_an_object_is_equal_only_to_itself_and_neither_true_nor_false(sandbox: Sandbox) -> None:
    program = "class C: pass\nkeep = C()\ndef f(x=None): return keep if x is None else x is keep"
    test = "def check(c): a = c(); assert a == a and a != 1 and a != c('y') and c(a) is True\n"
    assert sandbox.run(CodeJob(program, "f", test)).passed
    assert not sandbox.run(CodeJob(program, "f", "def check(c): assert c()")).passed
