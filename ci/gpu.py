"""Runs the parts of gpu_parts.py one after another, keeps what is known, and writes the page. Started by `ci/gpu`."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from gpu_parts import PARTS, ROOT, Part, Place, installed

ON_CPU = 20  # times the limits of a GPU: there the script is tried, and nothing is promised
PACK_BYTES = 64_000_000
# What a machine set up for deep learning with transformers lacks, or has too old; versions: requirements-cuda.txt
CARRIED = (
    *("trl", "transformers", "datasets", "dill", "multiprocess", "fsspec", "huggingface-hub", "httpx2", "httpcore2"),
    *("truststore", "h11", "idna", "anyio", "click", "regex", "tokenizers", "safetensors", "msgspec", "xxhash"),
)
GLIBC = (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)  # pip matches each name of a platform exactly


def main() -> int:
    options = _options()
    if options.worker:
        return work(*json.loads(options.worker))
    if options.pack:
        return pack(options.pack, options.python)
    model = _real_model() if options.model is None else options.model
    kind = f"{options.device}-{'quick' if options.quick else 'full'}-{Path(model).name or 'random'}"
    place = Place(options.work.resolve() / kind, options.device, options.quick, model)
    parts = chosen(options, place)
    if options.plan:
        print("\n".join(plan_lines(parts, place, Results(options.out, place))))
        return 0
    if place.device == "cuda" and (why := _no_gpu()):
        print(f"{why}\nto try the script on a CPU: ci/gpu --device cpu --quick", file=sys.stderr)
        return 2
    results = Results(options.out, place)
    for name in options.again:
        results.parts.pop(name, None)
    place.work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run([part for part in parts if part.name not in results.parts], place, results)
    except KeyboardInterrupt:
        print("interrupted: results so far are kept; run the same command again", file=sys.stderr)
        return 130
    bad = [name for name, part in results.parts.items() if part["status"] in ("failed", "timed out")]
    print(f"{results.out / 'gpu.md'}: {len(results.parts)} parts, not done: {', '.join(bad) or 'none'}")
    return int(bool(bad))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ci/gpu",
        description="Measure engines and trainers on one GPU, in ten minutes at most. Results: OUT/gpu.json and "
        "OUT/gpu.md. The same command again goes on with the parts that have no result.",
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--plan", action="store_true", help="print the parts and their time limits, run nothing")
    parser.add_argument(
        "--again", action="append", default=[], metavar="PART", choices=names, help="repeat a part; repeatable"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", choices=names, help="run only this part; repeatable"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: cuda")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument(
        "--model",
        help="a model folder; '': random weights [default: smollm2-135m below HARNESS_MODELS, if it is there]",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "gpu", help="results; what is there is gone on with"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "gpu-work", help="models and stages; may be deleted"
    )
    parser.add_argument("--bare", action="store_true", help="the machine's own Python, not .venv (see ci/gpu)")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="make a folder of wheels and this script to carry")
    parser.add_argument("--python", default="3.12", help="with --pack: the other machine's Python [default: 3.12]")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _no_gpu() -> str:
    """Why torch can use no GPU here; "": it can."""
    from harness.engines.machine import cuda_build, cuda_problem

    if cuda_build() is None:
        return "the installed torch is a build for CPUs"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    return cuda_problem() or ""


def _real_model() -> str:
    """The folder of SmolLM2-135M below HARNESS_MODELS; "": it is not there."""
    models = Path(os.environ.get("HARNESS_MODELS") or Path.home() / ".cache" / "harness-models")
    return str(models / "smollm2-135m") if (models / "smollm2-135m" / "config.json").exists() else ""


def chosen(options: argparse.Namespace, place: Place) -> list[Part]:
    """The parts that are asked for, with their limits on this device."""
    wanted = {*options.only, *options.again} if options.only else {part.name for part in PARTS}
    times = 1 if place.device == "cuda" else ON_CPU
    return [replace(part, limit_s=times * part.limit_s) for part in PARTS if part.name in wanted]


class Results:
    """The results in OUT/gpu.json, written with the page at every change."""

    def __init__(self, out: Path, place: Place) -> None:
        from harness.board import gpu_page

        self.out = out
        settings = {"device": place.device, "quick": place.quick, "model": Path(place.model).name}
        schema = Path(gpu_page.__file__).with_name("board.schema.json").read_text(encoding="utf-8")
        number = json.loads(schema)["$defs"]["gpu"]["properties"]["schema"]["const"]  # its home needs packages
        self.facts: dict[str, Any] = {"kind": gpu_page.KIND, "schema": number, **settings, "parts": {}}
        if (out / "gpu.json").exists():
            self.facts = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
            held = {key: self.facts[key] for key in settings}
            if held != settings:
                sys.exit(f"{out / 'gpu.json'} holds results of {held}, and this call is {settings}; give another --out")
        self.parts: dict[str, Any] = self.facts["parts"]

    def keep(self, part: Part, status: str, wall_s: float, facts: dict[str, Any], error: str = "") -> None:
        from harness.atomic import write_json, write_text
        from harness.board.gpu_page import gpu_markdown

        found = {"status": status, "limit_s": part.limit_s, "wall_s": wall_s, "error": error, "facts": facts}
        self.parts[part.name] = found
        order = [part.name for part in PARTS]
        self.facts["parts"] = self.parts = dict(sorted(self.parts.items(), key=lambda item: order.index(item[0])))
        write_json(self.out / "gpu.json", self.facts)
        write_text(self.out / "gpu.md", gpu_markdown(self.facts))
        print(f"{part.name}: {status}, {wall_s:.0f} s {error.splitlines()[-1] if error else ''}".rstrip(), flush=True)


def missing(part: Part) -> list[str]:
    """The distributions that a part needs and that are not installed."""
    return [name for name in part.needs if installed(name) is None]


def plan_lines(parts: Sequence[Part], place: Place, results: Results) -> Iterator[str]:
    """What would run, and the most time that it may take."""
    model = place.model or "random weights of SmolLM2-135M's shape"
    yield f"on {place.device}, {'tiny shapes' if place.quick else 'full size'}, with {model}"
    total = 0
    for part in parts:
        kept = results.parts.get(part.name)
        if kept:
            what = f"{kept['status']} already"
        elif lacks := missing(part):
            what = f"left out: {' and '.join(lacks)} not installed"
        else:
            what, total = f"at most {part.limit_s} s", total + part.limit_s
        yield f"{part.name:22} {what:16} {part.what}"
    yield f"{'in all':22} at most {total} s; a part may also use what those before it left of theirs"


def run(parts: Sequence[Part], place: Place, results: Results) -> None:
    """Run the parts in order; what is known of each is kept at once."""
    ready = []
    for part in parts:
        if lacks := missing(part):
            results.keep(part, "left out", 0.0, {}, f"{' and '.join(lacks)} not installed")
        else:
            ready.append(part)
    ends = dict(zip((part.name for part in ready), accumulate(part.limit_s for part in ready), strict=True))
    begun = time.monotonic()
    while ready:
        together = [ready[0], *takewhile(lambda part: not part.fresh, ready[1:])]
        n_done = _in_one_process(together, place, results, {part.name: begun + ends[part.name] for part in together})
        ready = ready[n_done:]


def _in_one_process(parts: Sequence[Part], place: Place, results: Results, ends: dict[str, float]) -> int:
    """Run parts one after another in one child process until one of them fails; the number that now has a result."""
    events, log = place.work / "events.jsonl", place.work / "log.txt"
    events.write_text("")
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    more = {"CUDA_VISIBLE_DEVICES": first if place.device == "cuda" else ""}
    if parts[0].deterministic:
        from harness.training.run_stage import DETERMINISTIC

        more |= DETERMINISTIC
    order = json.dumps([os.getpid(), asdict(place) | {"work": str(place.work)}, [part.name for part in parts]])
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--worker", order],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **more},
        )
    try:
        for number, part in enumerate(parts):
            if not _followed(child, part, ends[part.name], events, log, results):
                return number + 1
        return len(parts)
    finally:
        _end(child)


def _followed(child: Any, part: Part, end: float, events: Path, log: Path, results: Results) -> bool:
    """Keep the result of a part that the child is at; whether it was done."""
    begun, before = time.monotonic(), log.stat().st_size
    while True:
        alive = child.poll() is None
        mine = [event for line in _complete_lines(events) if (event := json.loads(line))["part"] == part.name]
        facts = {event["name"]: event["value"] for event in mine if "name" in event}
        took = time.monotonic() - begun
        ended = next((event for event in mine if "error" in event), None)
        if ended is not None:
            results.keep(part, "failed" if ended["error"] else "done", took, facts, ended["error"])
            return not ended["error"]
        if not alive:
            with log.open("rb") as file:
                file.seek(before)
                tail = file.read().decode(errors="replace").splitlines()[-12:]
            why = "\n".join([f"its process ended with exit code {child.returncode}", *tail])
            results.keep(part, "failed", took, facts, why)
            return False
        if time.monotonic() > end:
            results.keep(part, "timed out", took, facts, f"stopped after {took:.0f} s")
            return False
        time.sleep(0.1)


def _complete_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _end(child: Any) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def work(parent: int, place: dict[str, Any], names: Sequence[str]) -> int:
    """The child process: run parts, and write an event for each fact and each end."""
    from harness.engines.transformers import leave_out_scikit_learn
    from harness.processes import end_with_parent

    end_with_parent(parent)
    leave_out_scikit_learn()
    here = Place(**{**place, "work": Path(place["work"])})
    with (here.work / "events.jsonl").open("a", encoding="utf-8") as file:

        def tell(part: str, **event: Any) -> None:
            file.write(json.dumps(_finite({"part": part, **event})) + "\n")
            file.flush()

        for part in [part for name in names for part in PARTS if part.name == name]:
            try:
                part.measure(here, lambda name, value, part=part: tell(part.name, name=name, value=value))
            except Exception as error:
                traceback.print_exc()
                tell(part.name, error=f"{type(error).__name__}: {error}")
                return 1
            tell(part.name, error="")
    return 0


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pack(folder: Path, python: str) -> int:
    """Make a folder with this script, this project's wheel, and wheels of what a bare machine lacks."""
    if folder.exists() and any(folder.iterdir()):
        print(f"{folder} is not empty", file=sys.stderr)
        return 2
    wheels, ci = folder / "wheels", folder / "ci"
    ci.mkdir(parents=True)
    for name in ("gpu", "gpu.py", "gpu_parts.py", "requirements-cuda.txt", "requirements-cpu.txt"):
        shutil.copy(ROOT / "ci" / name, ci / name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    (ci / "gpu-commit").write_text(commit.stdout)
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True)
    shutil.rmtree(source)
    pins = dict(
        line.split("==") for line in (ROOT / "ci" / "requirements-cuda.txt").read_text().split() if "==" in line
    )
    target = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:", "--no-deps"]
    target += [f"--platform=manylinux_2_{glibc}_x86_64" for glibc in GLIBC] + ["--platform=manylinux2014_x86_64"]
    wanted = [f"{name}=={pins[name]}" for name in CARRIED]
    subprocess.run([*pip, "download", *target, "-d", wheels, *wanted], check=True)
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > PACK_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        print(f"{total:,} bytes, more than {PACK_BYTES:,}; largest: {largest.name}", file=sys.stderr)
        return 1
    print(f"{folder}: {len(sizes)} files, {total / 1e6:.1f} MB; there: ci/gpu --bare")
    return 0


if __name__ == "__main__":
    sys.exit(main())
