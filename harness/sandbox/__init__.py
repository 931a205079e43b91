"""Runs untrusted Python and judges it, behind the strongest walls the machine gives without root.

`Sandbox` keeps a few workers (see `worker`), each a fork server that judges one sample at a time. Walls, by tier:

    T1 namespaces+seccomp+landlock  own user, pid, mount, IPC, UTS and network namespace; only the interpreter's files,
                                    read-only; a private 64 MB /tmp
    T2 landlock+seccomp             where user namespaces are refused (Docker's default, Ubuntu's AppArmor): the same
                                    files by Landlock, no writable path, no network
    T3 rlimits+seccomp              only with allow_weak=True: the program can read every file this user can

All tiers: one process, no fork, no network, capped memory, CPU time, descriptors and file size, empty environment.
Bugs of the kernel itself are outside the promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType

from harness.errors import SandboxError
from harness.protocols import CodeJob, CodeResult
from harness.sandbox.wire import Channel, Closed

__all__ = ["Sandbox"]

TIERS = ("T1", "T2", "T3")
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from harness.sandbox.worker import main; import json; "
    "main(*json.loads(sys.argv[2]))"
)
# Fixed hash seed: the order of a set of strings, and with it a verdict, would otherwise change between workers.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
_START_S = 30.0
_GRACE_S = 5.0  # a worker that is this late past its own wall limit hangs
MAX_PROGRAM = 500_000  # characters
_NEVER_NEEDED = shutil.ignore_patterns("test", "tests", "site-packages", "idlelib", "lib2to3", "ensurepip", "config-*")
_SELF_CHECK = CodeJob(
    program="""
import os, socket
def escapes():
    done = []
    for name, act in {
        "read /etc/passwd": lambda: open("/etc/passwd").read(),
        "list the root's home": lambda: os.listdir(os.sep + "home"),
        "write a file": lambda: open("/var/tmp/harness-sandbox-check", "w"),
        "fork": os.fork,
        "signal the parent": lambda: os.kill(os.getppid() or -1, 0),
        "open a socket": lambda: socket.socket(),
    }.items():
        try:
            act()
        except OSError:
            continue
        done.append(name)
    return done
""",
    entry_point="escapes",
    test="def check(candidate):\n    done = candidate()\n    if done: raise RuntimeError(', '.join(done))",
)


class _WorkerDied(Exception):
    pass


class Sandbox:
    """A `CodeRunner`: judges programs in `workers` processes; `run` may be called from any thread.

    tier None takes the strongest of T1 and T2 this machine allows; naming one takes it or raises. T3, where files of
    this user can be read, is only taken with allow_weak. Raises `SandboxError` saying what each tier was refused.
    memory_bytes bounds the address space of one program.
    """

    tier: str

    def __init__(
        self,
        workers: int | None = None,
        *,
        tier: str | None = None,
        allow_weak: bool = False,
        memory_bytes: int = 1 << 30,
    ) -> None:
        n_workers = workers or len(os.sched_getaffinity(0))
        self._memory_bytes = memory_bytes
        self._closed = False
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        first, self.why = _strongest(tier, allow_weak, memory_bytes)
        self.tier, self._level = first.tier, first.level
        for _ in range(n_workers - 1):
            self._idle.put(None)  # started when first needed
        self._idle.put(first)
        self._n_workers = n_workers

    @staticmethod
    def probe() -> tuple[str, str]:
        """The tier this machine gives ("none" where it takes allow_weak) and, for people, why no stronger one."""
        try:
            with Sandbox(1) as sandbox:
                return sandbox.tier, sandbox.why
        except SandboxError as e:
            return "none", str(e)

    def run(self, job: CodeJob) -> CodeResult:
        """The verdict on one program; blocks while all workers are busy. Never raises for what the program does."""
        if self._closed:
            raise SandboxError("this sandbox is closed: make a new Sandbox")
        if len(job.program) > MAX_PROGRAM:
            return CodeResult(False, f"the program has {len(job.program)} characters, {MAX_PROGRAM} are allowed")
        worker = self._idle.get()
        try:
            for _ in range(2):  # a worker that died takes no sample with it
                try:
                    worker = worker or _Worker(self._level, self._memory_bytes)
                    return worker.judge(job)
                except (_WorkerDied, SandboxError) as e:
                    why = str(e)
                    if worker is not None:
                        worker.kill()
                    worker = None
            return CodeResult(None, f"sandbox: {why}")
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers, after the samples they are judging now."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._n_workers):
            worker = self._idle.get()
            if worker is not None:
                worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _strongest(tier: str | None, allow_weak: bool, memory_bytes: int) -> tuple[_Worker, str]:
    """A first worker of the strongest tier allowed, proven by a program that tries to get out; and why no stronger."""
    if tier not in (None, *TIERS):
        raise SandboxError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}")
    if tier == "T3" and not allow_weak:
        raise SandboxError("tier T3 lets programs read this user's files: pass allow_weak=True to accept that")
    wanted = [tier] if tier else ["T1", "T2"] + (["T3"] if allow_weak else [])
    refused = []
    for level in wanted:
        try:
            worker = _Worker(level, memory_bytes)
        except SandboxError as e:
            refused.append(f"{level} refused: {e}")
            continue
        try:
            if level != "T3":
                worker.check_itself()
        except (SandboxError, _WorkerDied) as e:
            worker.close()
            refused.append(f"{level} failed its own check: {e}")
            continue
        return worker, "; ".join(refused) or "the strongest tier there is"
    hint = "allow user namespaces or Landlock on this machine"
    if not allow_weak and tier is None:
        hint += ", or accept programs that can read your files (allow_weak=True)"
    raise SandboxError(f"no isolation strong enough: {'; '.join(refused)}; {hint}")


class _Worker:
    """One worker process and the socket to it. Used by one thread at a time."""

    def __init__(self, level: str, memory_bytes: int) -> None:
        self.level = level
        self._memory_bytes = memory_bytes
        self._library = tempfile.TemporaryDirectory(prefix="harness-stdlib-") if _must_copy(level) else None
        library = _library(Path(self._library.name) if self._library else None)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = json.dumps([level, _read_only(library), library])
        environment = _ENVIRONMENT | ({"PYTHONHOME": self._library.name} if self._library else {})
        with theirs:
            self._process = subprocess.Popen(
                [_python(), "-s", "-S", "-P", "-B", "-c", _BOOT, str(Path(__file__).parents[2]), arguments],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd="/",
                start_new_session=True,  # Ctrl-C is for us, not for the workers
            )  # fmt: skip
        self._control.settimeout(_START_S)
        try:
            hello = json.loads(self._control.recv(65536) or b'{"error": "the worker ended before it was ready"}')
        except OSError as e:
            hello = {"error": f"the worker did not start: {e}"}
        if "error" in hello:
            self.close()
            raise SandboxError(hello["error"])
        self.tier: str = hello["tier"]

    def judge(self, job: CodeJob) -> CodeResult:
        """The verdict on one job. Raises _WorkerDied if the worker is gone or hangs."""
        wall_s = 4 * job.timeout_s + 2
        limits = {"cpu_s": job.timeout_s, "wall_s": wall_s, "memory_bytes": self._memory_bytes}
        ours, theirs = socket.socketpair()
        ours.settimeout(wall_s + _GRACE_S)
        self._control.settimeout(wall_s + _GRACE_S)
        try:
            with ours:
                with theirs:
                    socket.send_fds(self._control, [json.dumps(limits).encode()], [theirs.fileno()])
                verdict = _exchange(Channel(ours), job)
            said = self._control.recv(65536)
        except OSError as e:
            raise _WorkerDied(f"the worker died or hangs: {type(e).__name__}: {e}") from e
        if not said:
            raise _WorkerDied("the worker died")
        return _result(verdict, json.loads(said), job.timeout_s)

    def check_itself(self) -> None:
        """Raises SandboxError naming what a program could do that it must not."""
        result = self.judge(_SELF_CHECK)
        if not result.passed:
            raise SandboxError(result.why)

    def close(self) -> None:
        self._control.close()  # the worker ends, and kills what it is running, when it sees this
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._library:
            self._library.cleanup()

    def kill(self) -> None:
        """End a worker that may hang; what it was running dies with it."""
        self._process.kill()
        self.close()


def _exchange(driver: Channel, job: CodeJob) -> tuple[bool | None, str] | None:
    """Hand the job to the driver and read what it says; None if it says nothing."""
    try:
        driver.send({"program": job.program, "entry_point": job.entry_point, "test": job.test, "prelude": job.prelude})
        passed, why = driver.receive()
    except Closed:
        return None
    except ValueError as e:
        return None, f"sandbox: the test program is too long: {e}"
    return passed, why


def _result(verdict: tuple[bool | None, str] | None, end: dict[str, object], timeout_s: float) -> CodeResult:
    """One result of what the driver said and what the worker saw."""
    cpu_s = float(str(end.get("cpu_s", 0.0)))
    if end["end"] == "broken":
        return CodeResult(None, f"sandbox: {end['why']}")
    if verdict and verdict[0]:
        return CodeResult(True, verdict[1], cpu_s)
    if end["end"] == "cpu" or (end["candidate"] == -9 and cpu_s >= timeout_s):
        return CodeResult(False, f"timeout: over {timeout_s:g} s of CPU time", cpu_s)
    if end["end"] == "wall":
        return CodeResult(False, f"timeout: over {4 * timeout_s + 2:g} s by the clock", cpu_s)
    if verdict is None:
        return CodeResult(False, f"the reply broke the comparison (driver ended with {end['driver']})", cpu_s)
    return CodeResult(*verdict, cpu_s)


# --- what a program may read -------------------------------------------------------------------------------------


def _python() -> str:
    """The interpreter itself: a virtual environment's link would bring its packages in."""
    return str(Path(getattr(sys, "_base_executable", sys.executable) or sys.executable).resolve())


def _library(copy: Path | None) -> list[str]:
    """sys.path of the samples: the standard library and its compiled part; in `copy` if given, which is filled."""
    stdlib = Path(sysconfig.get_path("stdlib", vars=_BASE)).resolve()
    dynload = Path(sysconfig.get_config_var("DESTSHARED") or stdlib / "lib-dynload").resolve()
    if copy is None:
        return [str(stdlib), str(dynload)]
    copy.chmod(0o755)
    home = copy / "lib" / stdlib.name  # laid out so that copy can be PYTHONHOME
    shutil.copytree(stdlib, home, ignore=_NEVER_NEEDED, copy_function=_link_or_copy)
    if not dynload.is_relative_to(stdlib):
        shutil.copytree(dynload, home / "lib-dynload", copy_function=_link_or_copy)
    return [str(home), str(home / "lib-dynload")]


_BASE = {"base": sys.base_prefix, "installed_base": sys.base_prefix, "platbase": sys.base_exec_prefix}


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _must_copy(level: str) -> bool:
    """Whether the library lies where the user that root becomes cannot go (pyenv below /root) and nothing binds it."""
    if level == "T1" or os.geteuid() != 0:
        return False
    stdlib = Path(sysconfig.get_path("stdlib", vars=_BASE)).resolve()
    return not all(p.stat().st_mode & stat.S_IXOTH for p in (stdlib, *stdlib.parents))


def _read_only(library: list[str]) -> list[str]:
    """Folders a program may read: its library, and where shared libraries live. Folders inside others are left out."""
    shared = [p for p in ("/usr/lib", "/usr/lib64", "/lib", "/lib64") if Path(p).exists()]
    with contextlib.suppress(OSError):
        mapped = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
        base = str(Path(sys.base_prefix).resolve())
        shared += sorted({str(Path(m).parent) for m in mapped if ".so" in m and m.startswith(base)})
    kept: list[str] = []
    for path in [*shared, *library]:
        if not any(Path(path).is_relative_to(k) for k in kept):
            kept.append(path)
    return kept
