"""The sandbox: nothing gets out, nothing fools it, and what is right passes."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import re
import resource
import secrets
import shlex
import shutil
import signal
import socket
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
from sandbox_attacks import ATTACKS, CALL, KERNEL_CALLS, SLOW_ATTACKS
from sandbox_programs import CONTROLS, FORMS, HACKS, ODD, Form

from harness.errors import SandboxError
from harness.protocols import CodeJob
from harness.sandbox import Sandbox
from harness.sandbox.wire import MAX_INT_BITS, decode, encode

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
    "read through the process' own root",
    "read below an open folder",
    "read with openat2",
    "map a file",
    "hard-link a file",
    "rename a file",
    "make a folder",
    "make a link",
    "change a file's owner",
    "watch a folder",
    "touch a device, for later samples to see",
    "read its own process' files",
    "write into its own memory by name",
    "read the memory of the machine",
    "kill a stranger's thread",
    "kill a stranger by its thread number",
    "queue a signal for a stranger",
    "have a pipe signal a stranger",
    "have a socket signal a stranger",
    "pin a stranger",
    "pin itself",
    "make a stranger idle",
    "set a stranger's disk priority",
    "look into a stranger's links",
    "type into the terminal",
    "be looked into",
    "open a netlink socket",
    "post a datagram from a socket pair",
    "post a datagram to an abstract name",
    "read a stranger's shared memory",
    "ask about a stranger's shared memory",
    "remove a message queue",
    "open 1,000 descriptors",
    "start 200 small threads",
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
    """A file everybody on this machine may read and write, in a folder everybody may enter and change.

    Beside it, a socket that takes datagrams, also under the folder's name; the file's name ends in the number of a
    shared memory segment everybody may read, and of a message queue.
    """
    libc = ctypes.CDLL(None)
    segment = libc.shmget(0, 4096, 0o1666)
    with contextlib.ExitStack() as stack:
        stack.callback(libc.shmctl, segment, 0, None)
        queue = b"/harness-%d" % segment
        os.close(libc.mq_open(queue, os.O_CREAT | os.O_RDWR, 0o666, None))
        stack.callback(libc.mq_unlink, queue)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).chmod(0o777)
        for name in (f"{folder}/mailbox", f"\0{folder}"):
            mailbox = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            mailbox.bind(name)
        Path(folder, "mailbox").chmod(0o777)
        path = Path(folder, f"canary-{segment}")
        path.write_text("secret")
        path.chmod(0o666)
        yield path


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def attack_job(program: str, canary: Path, victim: int, timeout_s: float = 0.5) -> CodeJob:
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


ADD = FORMS["equality"]
# Right only if nothing of an earlier sample is left: files, limits, threads, descriptors.
FRESH = """
import _signal, _thread, os, resource, sys
def add(a, b):
    try: left = os.listdir('/tmp') + os.listdir('.') + os.listxattr('/tmp') + [oct(os.stat('/tmp').st_mode)]
    except OSError: left = ['0o40700']  # T2 has no private folder, and shows no other
    limits = [resource.getrlimit(k) for k in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)]
    other = _thread._count(), _signal.getitimer(0), os.umask(0o22), sys.getrecursionlimit()
    found = left, limits, other
    new = ['0o40700'], [(64, 64), (-1, -1), (64 << 20, 64 << 20)], (0, (0.0, 0.0), 0o22, 1016)
    return a + b if found == new else found
"""


def check_unharmed(sandbox: Sandbox, form: Form = ADD) -> None:
    """The next samples get the verdicts they deserve, and find nothing of those before."""
    if form is not ADD:
        assert sandbox.run(form.ask(form.right, 5)).verdict == "passed"
    assert sandbox.run(form.ask(form.wrong, 5)).verdict in ("failed", "error")
    fresh = sandbox.run(ADD.ask(FRESH, 5))
    assert fresh.passed, sandbox.run(CodeJob(FRESH, "add", "def check(c): raise RuntimeError(repr(c(1, 2)))")).why


def cases(programs: dict[str, dict[str, str]]) -> list[object]:
    return [pytest.param(form, name, id=f"{form}: {name}") for form, names in programs.items() for name in names]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_test_tells_right_from_wrong(sandbox: Sandbox, form: str) -> None:
    check_unharmed(sandbox, FORMS[form])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained(sandbox: Sandbox, name: str, canary: Path, victim: subprocess.Popen[bytes]) -> None:
    before = canary.stat()
    result = sandbox.run(attack_job(ATTACKS[name], canary, victim.pid))
    assert "escaped" not in result.why
    assert result.passed is not None, result.why
    after = canary.stat()
    assert (after.st_mode, after.st_size, after.st_mtime_ns) == (before.st_mode, before.st_size, before.st_mtime_ns)
    assert sorted(p.name for p in canary.parent.iterdir()) == [canary.name, "mailbox"]
    assert victim.poll() is None
    assert os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    check_unharmed(sandbox)


@pytest.mark.parametrize("name", KERNEL_CALLS)
def test_an_attack_by_system_call_is_contained(sandbox: Sandbox, name: str, canary: Path) -> None:
    result = sandbox.run(attack_job(f"NUMBER = {KERNEL_CALLS[name]}\n{CALL}", canary, 0))
    assert (result.verdict, result.why) == ("passed", "passed")  # neither "escaped" nor killed for it


@pytest.mark.parametrize("name", HARMLESS)
def test_the_same_attack_succeeds_outside_the_sandbox(name: str, canary: Path, victim: subprocess.Popen[bytes]) -> None:
    program = ATTACKS[name] + f"\nprint(act({str(canary)!r}, {victim.pid}), flush=True)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert "escaped" in done.stdout, done.stderr


@pytest.mark.parametrize("name", SLOW_ATTACKS)
def test_an_attack_that_does_not_end_is_ended_promptly(
    sandbox: Sandbox, name: str, canary: Path, victim: subprocess.Popen[bytes]
) -> None:
    started = time.monotonic()
    result = sandbox.run(attack_job(SLOW_ATTACKS[name], canary, victim.pid, timeout_s=0.2))
    assert result.verdict == "timeout"
    assert result.why in ("over 0.2 s by the clock", "over 0.2 s of CPU time")  # on a busy machine a spinner waits
    assert result.why.endswith("clock") or name != "sleep"
    assert time.monotonic() - started < (0.2 + 0.5 if name == "sleep" else 4 * 0.2 + 2 + 1.0)
    assert result.cpu_s < 0.4
    check_unharmed(sandbox)


@pytest.mark.parametrize(("form", "name"), cases(HACKS))
def test_a_hack_does_not_pass_and_leaves_nothing(sandbox: Sandbox, form: str, name: str) -> None:
    result = sandbox.run(FORMS[form].ask(HACKS[form][name]))
    assert result.passed is False, result  # and not None either: no program may choose to be left out
    check_unharmed(sandbox, FORMS[form])


@pytest.mark.parametrize(("form", "name"), cases(CONTROLS))
def test_a_right_but_unusual_program_passes(sandbox: Sandbox, form: str, name: str) -> None:
    result = sandbox.run(FORMS[form].ask(CONTROLS[form][name], 5))
    assert result.passed, result


@pytest.mark.parametrize("name", ODD)
def test_a_right_answer_to_unusual_tests_passes(sandbox: Sandbox, name: str) -> None:
    result = sandbox.run(ODD[name])
    assert result.passed, result


@pytest.mark.parametrize("sandboxes", [1, 2])
def test_a_hack_in_one_worker_harms_no_sample_in_another(sandboxes: int) -> None:
    """Descriptors on their way through a socket are counted for all processes of a user."""
    program = """
import socket, time
def f():
    pairs = [socket.socketpair() for _ in range(25)]
    try:
        for a, b in pairs: socket.send_fds(a, [b'x'], [b.fileno()] * 3)
    except OSError: pass
    time.sleep(0.6)
"""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        first, *more = [stack.enter_context(Sandbox(3 - sandboxes)) for _ in range(sandboxes)]
        flood = pool.submit(first.run, CodeJob(program, "f", "def check(c): c()", timeout_s=2))
        verdicts = []
        while not flood.done():
            verdicts.append([first, *more][-1].run(ADD.ask(ADD.right, 5)).verdict)
        assert set(verdicts) == {"passed"}
        assert flood.result().passed is not None


def test_the_tests_share_no_folder_with_the_program() -> None:
    program = "import os\ndef f():\n    open('/tmp/left', 'w').close()\n    return 1"
    test = "import os\ndef check(c): assert c() == 1 and 'left' not in os.listdir('/tmp') and os.listdir() == []"
    with Sandbox(1, tier="T1") as sandbox:
        assert sandbox.run(CodeJob(program, "f", test)).passed


def naive(job: CodeJob) -> str:
    """What many graders run: the tests after the program, in one process; exit code 0 is a pass."""
    if job.stdin is None:
        call = "" if job.names else f"\ncheck({job.entry_point})"
        return f"{job.prelude}\n{job.program}\n{job.test}{call}"
    return (
        f"{job.test}\nimport io, sys\nsys.stdin, sys.stdout = io.StringIO({job.stdin!r}), io.StringIO()\n"
        f"exec({job.program!r}, globals())\ncheck(sys.stdout.getvalue())"
    )


def passes_naively(job: CodeJob) -> bool:
    command = [sys.executable, "-W", "ignore", "-c", naive(job)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=1,
                check=False,
                start_new_session=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


# Not run unconfined: these use up what all processes share, or need seconds.
_NOT_OUTSIDE = (
    "leave",
    "take",
    "use all",
    "storm",
    "endless",
    "for ever",
    "no end",
    "sleep",
    "rename",
    "sparse",
    "beyond",
)


@pytest.mark.slow
def test_the_hacks_are_real_they_fool_a_grader_that_runs_the_tests_beside_the_program() -> None:
    jobs = {
        f"{form}: {name}": FORMS[form].ask(program)
        for form, programs in HACKS.items()
        for name, program in programs.items()
        if "frame(" not in program and not any(word in name for word in _NOT_OUTSIDE)
    }
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(passes_naively, [f.ask(f.right) for f in FORMS.values()]))
        assert not any(pool.map(passes_naively, [f.ask(f.wrong) for f in FORMS.values()]))
        fooled = [name for name, passed in zip(jobs, pool.map(passes_naively, jobs.values()), strict=True) if passed]
    assert len(fooled) >= 40, fooled
    assert len({name.partition(":")[0] for name in fooled}) >= 12  # forms


@pytest.mark.slow
def test_the_same_holds_for_a_user_who_is_not_root() -> None:
    """This file's attacks, hacks and right programs once more, as nobody in particular."""
    if os.geteuid() != 0:
        pytest.skip("these tests run as an unprivileged user already")
    missing = [tool for tool in ("unshare", "setpriv") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with ThreadPoolExecutor(2) as both_cores:
        halves = list(both_cores.map(as_nobody, ("T1", "not T1")))
    for done in halves:
        if "unshare failed" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert " passed" in done.stdout


def as_nobody(tier: str) -> subprocess.CompletedProcess[str]:
    """Run the part of this file's attacks, hacks and right programs that `tier` selects, as an unprivileged user."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        script = uncovered([Path(sys.base_prefix), Path(sys.prefix), root], Path(folder))
        command = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", sys.executable, "-m", "pytest", "-q"]
        command += [
            "-p",
            "no:cacheprovider",
            "-k",
            f"({tier}) and (contained or ended_promptly or a_hack or right or finds_no_test)",
            __file__,
        ]
        script += f"cd {shlex.quote(str(root))} && exec {shlex.join(command)}"
        environment = {
            "PATH": os.environ["PATH"], "TMPDIR": folder, "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        return subprocess.run(
            ["unshare", "-m", "sh", "-ec", script], env=environment, capture_output=True, text=True, check=False
        )


def uncovered(folders: list[Path], scratch: Path) -> str:
    """Shell commands for a private mount namespace, after which everybody can reach `folders`.

    A folder on the way that others may not enter is covered by an empty one, and what is needed bound into it.
    """
    closed: dict[Path, list[Path]] = {}
    for folder in folders:
        way = [p for p in (*reversed(folder.resolve().parents), folder.resolve()) if not p.stat().st_mode & 0o001]
        if way:
            closed.setdefault(way[0], []).append(folder.resolve())
    lines = []
    for i, (cover, below) in enumerate(closed.items()):
        held = [(f, scratch / f"{i}-{j}") for j, f in enumerate(below)]
        lines += [f"mkdir {at}; mount --bind {shlex.quote(str(f))} {at}" for f, at in held]
        lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(cover))}"]
        lines += [
            f"mkdir -p {shlex.quote(str(f))}; mount --bind {at} {shlex.quote(str(f))}; umount {at}" for f, at in held
        ]
    return "".join(line + "\n" for line in lines)


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
        sandbox.run(
            CodeJob("def add(a, b): pass", "add", ADD.job.test + f"SECRET = {secret!r} * 200\n", f"S = {secret!r}")
        )
    test = f"SECRET = {others[0]!r}\ndef check(candidate):\n    raise RuntimeError(' '.join(candidate()))"
    found = sandbox.run(CodeJob(SCAN.format(mine=mine), "found", test, f"SECRET = {others[0]!r}")).why
    assert mine in found  # the scan works: it finds what the program itself contains
    assert [secret for secret in others if secret in found] == []


def test_ids_differ_from_the_users_and_the_sample_is_alone(sandbox: Sandbox) -> None:
    program = "import os, socket\ndef look(): return os.getuid(), os.getpid(), socket.gethostname(), os.getcwd()"
    result = sandbox.run(CodeJob(program, "look", "def check(c): raise RuntimeError(str(c()))"))
    if sandbox.tier.startswith("T1"):
        assert result.why.startswith("RuntimeError: (65534, 1, ")
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
        assert sandbox.run(ADD.ask(ADD.right, 5)).passed


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(SandboxError, match="tier must be one of T1, T2, T3, got 'T4'"):
        Sandbox(1, tier="T4")


def test_the_probe_names_the_tier_that_a_sandbox_takes() -> None:
    tier, why = Sandbox.probe()
    with Sandbox(1) as sandbox:
        assert tier == sandbox.tier
    assert why


def test_a_tier_that_is_refused_is_named_with_the_reason() -> None:
    """In a process that may make no user namespace, T1 is refused with a reason and T2 is taken."""
    program = textwrap.dedent("""
        import ctypes, struct
        from harness.sandbox import Sandbox, kernel
        libc = ctypes.CDLL(None, use_errno=True)
        program = kernel._program({kernel._number("unshare"): kernel._refuse()})
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
            assert sandbox.run(ADD.ask(ADD.right, 0.01)).passed is not None
            assert sandbox.run(ADD.ask(ADD.right, 5)).passed


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
        sandbox.run(ADD.ask(ADD.right, 5))


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
        assert (result.verdict, result.passed) == ("refused", None)
        assert result.why.startswith("the trusted test program")


def test_a_reason_never_holds_the_expected_value(sandbox: Sandbox) -> None:
    result = sandbox.run(CodeJob("def f(): return 1", "f", "def check(c): assert c() == 7351, 'want 7351'"))
    assert (result.verdict, result.why) == ("failed", "assertion failed")


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
    for program in (HACKS["equality"]["answer with 100 MB"], "print('x' * 100_000_000)\n" + ADD.right):
        sandbox.run(ADD.ask(program))
    for program in ("make an endless output", "make a sparse output of 60 MB"):
        sandbox.run(FORMS["stdin"].ask(HACKS["stdin"][program]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert not sandbox.run(ADD.ask("x = 1 #" + "x" * 600_000)).passed


VALUES = [
    *(None, True, 0, -1, 2**63, -(2**200), 1.5, -0.0, math.inf, "", "é\udc80", b"\x00\xff", bytearray(b"x"), 1 + 2j),
    *((1, (2, [3])), [], [[], ()], {1, 2}, frozenset({"a"}), {(1, 2): {"k": None}, 3: []}, range(1, 9, 3)),
    *(Decimal("1.10"), Fraction(2, 3)),
]


def refuse(value: object) -> int:
    raise TypeError(type(value).__name__)


def resolve(tag: str, body: object) -> object:
    raise ValueError(f"unknown tag {tag!r}: {body!r}")


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_data_arrives_as_it_left(value: object) -> None:
    back = decode(json.loads(json.dumps(encode(value, refuse))), resolve)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_arrives_as_nan_and_no_iterator_is_plain_data() -> None:
    assert math.isnan(decode(encode(float("nan"), refuse), resolve))
    with pytest.raises(TypeError, match="generator"):
        encode((i for i in range(3)), refuse)


def test_an_iterator_arrives_as_an_iterator(sandbox: Sandbox) -> None:
    program = "def f(xs=None): return iter(range(3)) if xs is None else [hasattr(xs, '__next__'), *xs]"
    test = (
        "def check(c): a = c(); assert a != [0, 1, 2] and list(a) == [0, 1, 2]; assert c(i for i in 'a') == [True, 'a']"
    )
    assert sandbox.run(CodeJob(program, "f", test)).passed


@pytest.mark.parametrize(
    "wire", [{"x": 1}, {"t": [1], "l": []}, {}, {"i": 5}, {"i": "f" * (MAX_INT_BITS // 4 + 1)}, {"b": 1}]
)
def test_data_that_no_encoder_writes_is_refused(wire: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(wire, resolve)


def test_an_object_is_equal_only_to_itself_and_true_whatever_it_says(sandbox: Sandbox) -> None:
    program = """
class C:
    def __eq__(self, other): return True
    def __bool__(self): return False
    def __contains__(self, x): return True
    def __lt__(self, other): return True
    __iter__ = lambda self: iter(())
keep = C()
def f(x=None): return keep if x is None else x is keep
"""
    for test in (
        "a == a and a != 1 and 1 != a and a != c('y') and c(a) is True",
        "a and bool(a) is True",
        "1 not in a",
    ):
        assert sandbox.run(CodeJob(program, "f", f"def check(c):\n    a = c()\n    assert {test}")).passed
    for test in (
        "a == 1",
        "1 == a",
        "a != a",
        "not a",
        "1 in a",
        "a in [1]",
        "a < 5",
        "a > 5",
        "abs(a - 1) < 2",
        "float(a)",
    ):
        assert not sandbox.run(CodeJob(program, "f", f"def check(c):\n    a = c()\n    assert {test}")).passed
