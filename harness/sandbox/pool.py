"""`Sandbox`: manages the worker processes from the process that uses them. Tiers: see the package's docstring."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.errors import SandboxError
from harness.protocols import CodeJob, CodeResult, ProgramVerdict
from harness.sandbox.wire import Channel, Closed
from harness.sandbox.worker import ASKED, ENDED

__all__ = ["Sandbox"]

TIERS = ("T1", "T2", "T3")
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from harness.sandbox.worker import main; import json; "
    "main(*json.loads(sys.argv[2]))"
)
# Fixed hash seed: the order of a set of strings, and with it a verdict, would otherwise change between workers.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
_START_S = 30.0
_GRACE_S = 5.0  # a worker that exceeds its own wall limit by this much hangs
MAX_PROGRAM = 500_000  # characters
OUTER = "HARNESS_SANDBOX_OUTER"
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
    """A `CodeRunner`: runs programs in `workers` processes; `run` may be called from any thread.

    tier None: the strongest of T1 and T2 that works on this machine; a named tier is used or raises. T3, in which this
    user's files can be read, needs allow_weak. Raises `SandboxError` with the reason why each tier was refused.
    memory_bytes limits the address space of one program. packages: packages that programs may import beside the
    standard library, if this interpreter has them. outer: a command that isolates another command, put before that of
    each worker ("bwrap --dev-bind / / --unshare-net"); default: $HARNESS_SANDBOX_OUTER.
    """

    tier: str

    def __init__(
        self,
        workers: int | None = None,
        *,
        tier: str | None = None,
        allow_weak: bool = False,
        memory_bytes: int = 1 << 30,
        packages: Sequence[str] = ("numpy",),
        outer: Sequence[str] | None = None,
    ) -> None:
        self._n_workers = workers or len(os.sched_getaffinity(0))
        self._closed = False
        self._idle: queue.LifoQueue[_WorkerHandle | None] = queue.LifoQueue()
        self._alone = threading.Lock()
        if outer is None:
            outer = shlex.split(os.environ.get(OUTER, ""))
        first, self.why = _strongest(tier, allow_weak, packages, memory_bytes, tuple(outer))
        self._settings = first.settings
        self.tier = first.tier + (f" inside {Path(outer[0]).name}" if outer else "")
        for _ in range(self._n_workers - 1):
            self._idle.put(None)  # started when first needed
        self._idle.put(first)

    @staticmethod
    def probe() -> tuple[str, str]:
        """The tier of this machine ("none" if it needs allow_weak), and the reason why no stronger one is used."""
        try:
            with Sandbox(1) as sandbox:
                return sandbox.tier, sandbox.why
        except SandboxError as e:
            return "none", str(e)

    def run(self, job: CodeJob) -> CodeResult:
        """The verdict on one program; blocks while all workers are busy. No program makes it raise.

        After a doubtful verdict (the wall clock stopped the program, maybe because the machine is busy) the program is
        run once more, with no other program beside it.
        """
        if self._closed:
            raise SandboxError("this sandbox is closed: make a new Sandbox")
        if len(job.program) > MAX_PROGRAM:
            why = f"the program has {len(job.program)} characters, {MAX_PROGRAM} are allowed"
            return CodeResult("error", why)
        if "\0" in job.program:
            return CodeResult("error", "SyntaxError: the program holds a null byte")
        worker = self._idle.get()
        try:
            result, doubtful, worker = self._judge(worker, job)
        finally:
            self._idle.put(worker)
        if not doubtful:
            return result
        with self._alone:
            held = [self._idle.get() for _ in range(self._n_workers)]
            try:
                result, _, held[0] = self._judge(held[0], job)
            finally:
                for worker in held:
                    self._idle.put(worker)
        return result

    def _judge(self, worker: _WorkerHandle | None, job: CodeJob) -> tuple[CodeResult, bool, _WorkerHandle | None]:
        """The verdict, whether it is doubtful (see `_result`), and the worker to use next."""
        why = ""
        for _ in range(2):  # if a worker died, its sample is run again by another
            try:
                worker = worker or _WorkerHandle(self._settings)
                return *worker.judge(job), worker
            except (_WorkerDied, SandboxError) as e:
                why = str(e)
                if worker is not None:
                    worker.kill()
                worker = None
        return CodeResult("refused", f"sandbox: {why}"), False, None

    def close(self) -> None:
        """End the workers, after their current samples."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._n_workers):
            worker = self._idle.get()
            if worker is not None:
                worker.close()
        self._settings.library.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class _Settings:
    """The settings shared by all workers of a sandbox."""

    level: str  # "T1", "T2", "T3"
    library: _Library
    memory_bytes: int
    outer: tuple[str, ...]


def _strongest(
    tier: str | None, allow_weak: bool, packages: Sequence[str], memory_bytes: int, outer: tuple[str, ...]
) -> tuple[_WorkerHandle, str]:
    """A worker of the strongest allowed tier, tested with a program that tries to escape; and why no stronger one."""
    if tier not in (None, *TIERS):
        raise SandboxError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}")
    if tier == "T3" and not allow_weak:
        raise SandboxError("tier T3 lets programs read this user's files: pass allow_weak=True to accept that")
    wanted = [tier] if tier else ["T1", "T2"] + (["T3"] if allow_weak else [])
    refused = []
    for level in wanted:
        library = _Library.of(level, packages)
        try:
            worker = _WorkerHandle(_Settings(level, library, memory_bytes, outer))
        except SandboxError as e:
            library.close()
            refused.append(f"{level} refused: {e}")
            continue
        try:
            if level != "T3":
                worker.check_itself()
        except (SandboxError, _WorkerDied) as e:
            worker.close()
            library.close()
            refused.append(f"{level} failed its own check: {e}")
            continue
        return worker, "; ".join(refused) or "the strongest tier there is"
    hint = "allow user namespaces or Landlock on this machine"
    if not allow_weak and tier is None:
        hint += ", or accept programs that can read your files (allow_weak=True)"
    raise SandboxError(f"no isolation strong enough: {'; '.join(refused)}; {hint}")


class _WorkerHandle:
    """One worker process and the socket to it. Used by one thread at a time."""

    def __init__(self, settings: _Settings) -> None:
        self.settings = settings
        library = settings.library
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = json.dumps([settings.level, library.readable, library.path, settings.memory_bytes])
        environment = _ENVIRONMENT | ({"PYTHONHOME": library.home} if library.home else {})
        command = [_python(), "-s", "-S", "-P", "-c", _BOOT, str(Path(__file__).parents[2]), arguments]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*settings.outer, *command],
                    stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C reaches this process only, not the workers
                )  # fmt: skip
            except OSError as e:
                self._control.close()
                raise SandboxError(f"the worker cannot be started by {[*settings.outer, command[0]][0]!r}: {e}") from e
        self._control.settimeout(_START_S)
        try:
            hello = json.loads(self._control.recv(65536) or b'{"error": "the worker ended before it was ready"}')
        except OSError as e:
            hello = {"error": f"the worker did not start: {e}"}
        if "error" in hello:
            self.close()
            raise SandboxError(hello["error"])
        self.tier: str = hello["tier"]

    def judge(self, job: CodeJob) -> tuple[CodeResult, bool]:
        """The verdict on one job, and whether it is doubtful (see `_result`).

        Raises _WorkerDied if the worker is gone or hangs.
        """
        started = time.monotonic()
        wall_s = 4 * job.timeout_s + 2
        asked = ASKED.pack(job.timeout_s, wall_s, job.stdin is not None)
        ours, theirs = socket.socketpair()
        self._control.settimeout(wall_s + _GRACE_S)
        try:
            with ours:
                with theirs:
                    socket.send_fds(self._control, [asked], [theirs.fileno()])
                said = _exchange(Channel(ours.fileno(), wall_s + _GRACE_S), job)
            end = self._control.recv(65536)
        except OSError as e:
            raise _WorkerDied(f"the worker died or hangs: {type(e).__name__}: {e}") from e
        if not end:
            raise _WorkerDied("the worker died")
        return _result(said, ENDED.unpack(end), job.timeout_s, time.monotonic() - started)

    def check_itself(self) -> None:
        """Raise SandboxError if a test program could do something forbidden; the error names it."""
        result, _ = self.judge(_SELF_CHECK)
        if not result.passed:
            raise SandboxError(result.why)

    def close(self) -> None:
        self._control.close()  # the worker ends, and kills what it is running, when it sees this
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Kill a worker that may hang, with the sample that it runs."""
        self._process.kill()
        self.close()


def _exchange(driver: Channel, job: CodeJob) -> tuple[ProgramVerdict, str, str] | None:
    """Send the job to the driver and return its message; None if there is none."""
    asked = {
        "program": job.program,
        "entry_point": job.entry_point,
        "test": job.test,
        "prelude": job.prelude,
        "names": job.names,
        "copy_back": job.copy_back,
        "stdin": job.stdin,
    }
    try:
        driver.send(asked)
        verdict, why, line = driver.receive()
    except Closed:
        return None
    except ValueError as e:
        return "refused", f"the test program is too long: {e}", ""
    return verdict, why, line


def _result(
    said: tuple[ProgramVerdict, str, str] | None, ended: tuple[bytes, int, int, float], timeout_s: float, wall_s: float
) -> tuple[CodeResult, bool]:
    """The result from the driver's message and the worker's observations, and whether it is doubtful.

    It is doubtful if the wall-clock backstop stopped the program or its driver died: other processes can cause both.
    """
    verdict, why, test = said or ("error", "", "")
    doubtful = False
    end, driver, candidate, cpu_s = ended[0].rstrip(b"\0").decode(), *ended[1:]
    if end == "broken":
        verdict, why = "refused", f"sandbox: no process for the sample: {os.strerror(driver)}"
    elif verdict in ("passed", "refused"):
        pass
    elif end == "cpu":
        verdict, why = "timeout", f"over {timeout_s:g} s of CPU time"
    elif end == "asleep":
        verdict, why = "timeout", f"over {timeout_s:g} s by the clock"
    elif end == "over":
        verdict, why = "error", f"comparing took over {timeout_s:g} s of CPU time"
    elif end == "wall":
        doubtful = True
        verdict, why = "timeout", f"over {4 * timeout_s + 2:g} s by the clock"
    elif said is None:
        doubtful = True
        verdict, why = "error", f"the reply broke the comparison (driver ended with {driver})"
    elif verdict == "error" and candidate not in (0, -signal.SIGKILL):
        why += f" ({signal.Signals(-candidate).name})" if candidate < 0 else f" (exit code {candidate})"
    return CodeResult(verdict, why, cpu_s, wall_s, test if verdict in ("failed", "error") else ""), doubtful


# --- what a program may read -------------------------------------------------------------------------------------


def _python() -> str:
    """The interpreter itself, since the link of a virtual environment would make its packages importable."""
    return str(Path(getattr(sys, "_base_executable", sys.executable) or sys.executable).resolve())


@dataclass(frozen=True)
class _Library:
    """Folders that programs import from. path: sys.path; readable: its folders; home: PYTHONHOME; "": the default."""

    path: list[str]
    readable: list[str]
    home: str = ""
    copy: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Remove the copied files."""
        if self.copy:
            self.copy.cleanup()

    @classmethod
    def of(cls, level: str, packages: Sequence[str]) -> _Library:
        """The standard library, its compiled part and `packages`; copied if the worker could not read them."""
        stdlib = Path(sysconfig.get_path("stdlib", vars=_BASE)).resolve()
        dynload = Path(sysconfig.get_config_var("DESTSHARED") or stdlib / "lib-dynload").resolve()
        folders = [folder for name in packages for folder in _folders(name)]
        if not _must_copy(level, [stdlib, *folders]):
            path, readable = [stdlib, dynload], [stdlib, dynload, *folders]
            copy = None
            if folders and level == "T1":  # only these folders are mounted there
                path += sorted({f.parent for f in folders})
            elif folders:  # their folder contains other packages, which Landlock would have to allow too
                copy = tempfile.TemporaryDirectory(prefix="harness-packages-")
                links = Path(copy.name)
                links.chmod(0o755)
                for folder in folders:
                    links.joinpath(folder.name).symlink_to(folder)
                path.append(links)
                readable.append(links)
            return cls([str(p) for p in path], _read_only(readable), copy=copy)
        copy = tempfile.TemporaryDirectory(prefix="harness-stdlib-")
        Path(copy.name).chmod(0o755)
        home = Path(copy.name, "lib", stdlib.name)  # in the layout of PYTHONHOME
        shutil.copytree(stdlib, home, ignore=_NEVER_NEEDED, copy_function=_link_or_copy)
        if not dynload.is_relative_to(stdlib):
            shutil.copytree(dynload, home / "lib-dynload", copy_function=_link_or_copy)
        for folder in folders:
            shutil.copytree(folder, home / "packages" / folder.name, copy_function=_link_or_copy)
        path = [home, home / "lib-dynload", home / "packages"]
        return cls([str(p) for p in path], _read_only([home]), copy.name, copy)


def _folders(package: str) -> list[Path]:
    """The folders of an installed package and of its shared libraries; empty if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]).resolve()
    libraries = folder.with_name(f"{folder.name}.libs")
    return [folder, *([libraries] if libraries.is_dir() else [])]


_BASE = {"base": sys.base_prefix, "installed_base": sys.base_prefix, "platbase": sys.base_exec_prefix}


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _must_copy(level: str, folders: Sequence[Path]) -> bool:
    """Whether a folder must be copied, as the user that root becomes cannot read it (pyenv below /root)."""
    if level == "T1" or os.geteuid() != 0:
        return False
    return not all(p.stat().st_mode & stat.S_IXOTH for f in folders for p in (f, *f.parents))


def _read_only(folders: Sequence[Path]) -> list[str]:
    """`folders` and the folders of shared libraries, without folders inside others."""
    shared = [Path(p) for p in ("/usr/lib", "/usr/lib64", "/lib", "/lib64") if Path(p).exists()]
    with contextlib.suppress(OSError):
        mapped = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
        base = str(Path(sys.base_prefix).resolve())
        shared += sorted({Path(m).parent for m in mapped if ".so" in m and m.startswith(base)})
    kept: list[Path] = []
    for path in [*shared, *folders]:
        if not any(path.is_relative_to(k) for k in kept):
            kept.append(path)
    return [str(p) for p in kept]
