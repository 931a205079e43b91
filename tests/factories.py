"""Small values for tests."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import jsonschema

from harness.atomic import write_json
from harness.board.facts import (
    BoardFacts,
    Decoding,
    DevFacts,
    EngineFacts,
    ModelFacts,
    TaskFacts,
    TraceFacts,
    TrainingFacts,
    TrainItemFacts,
    TrialFacts,
    TuningFacts,
)
from harness.cli.main import main
from harness.records.serialization import record_to_json
from harness.training.decontaminate import HeldOut, sift
from harness.types import Budget, Record, RecordItem, RecordOrigin, RecordReply, Score, TrainRow, sha256_of

ROOT = Path(__file__).parent.parent
HARNESS = str(Path(sys.executable).parent / "harness")


class Quiet:
    """Progress that prints nothing."""

    def say(self, text):
        """Print nothing."""

    @contextlib.contextmanager
    def step(self, _name, _weight):
        yield lambda _fraction, _text: None


def outputs_under_two_hash_seeds(script):
    """What a Python script writes in two processes whose string hashes differ; its warnings are errors."""
    return [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]


def overlaps(samples, others):
    """Overlaps of a split's questions and solutions with another split's questions, one for each item that has any."""
    return sift([TrainRow("", sample) for sample in samples], HeldOut(others))[1]


def record(item="t/test/0", value=1.0, lenient=None, *, task="t", **changes):
    """A record with the given strict verdict; lenient as strict unless given."""
    lenient = value if lenient is None else lenient
    fields = {
        "task": task,
        "task_version": "1",
        "sample_id": item,
        "sample_hash": f"hash of {item}",
        "repeat": 0,
        "prompt_hash": sha256_of(f"prompt of {item}"),
        "checkpoint": "c" * 64,
        "engine": "scripted 1 float32",
        "sampling": {"max_tokens": 16, "temperature": 0.0},
        "grader_version": "t 1, math 1",
        "sandbox": "none needed",
        "text": "\\boxed{1}",
        "n_prompt_tokens": 5,
        "n_tokens": 3,
        "finish": "stop",
        "wall_s": 0.1,
        "scores": {"strict": Score(value, "1"), "lenient": Score(lenient, "1")},
        "level": "1",
    }
    fields |= changes
    parts = [
        kind(**{name: fields.pop(name) for name in kind.__dataclass_fields__ if name in fields})
        for kind in (RecordItem, RecordOrigin, RecordReply)
    ]
    item, origin, reply = parts
    return Record(item=item, origin=origin, reply=reply, **fields)


def changed(one, **changes):
    """A record with other values of some fields, its parts' ones too."""
    for part in ("item", "origin", "reply"):
        of = getattr(one, part)
        own = {name: changes.pop(name) for name in of.__dataclass_fields__ if name in changes}
        one = replace(one, **{part: replace(of, **own)})
    return replace(one, **changes)


def trained_at(budget, **more):
    """The facts of a board whose strategies had this budget; all others are made up."""
    fields = {
        "base": ModelFacts("tiny|base", "b" * 64),
        "teacher": None,
        "items": TrainItemFacts(90, 100, "mine.jsonl", {"exact": 7, "13-gram": 3}),
        "dev_items": {"t": DevFacts(10, "dev"), "u": DevFacts(5, "train")},
        "n_checkpoints": 4,
        "settings": {"sft": {"learning_rate": 1e-3}, "rl": {}},
        "devices": 2,
    }
    return BoardFacts(training=TrainingFacts(budget=budget, **(fields | more)))


def every_fact():
    """The facts of a board with no field left out, so far as they go together."""
    tried = (
        TrialFacts({"learning_rate": 1e-3}, 0.625, True),
        TrialFacts({"learning_rate": 0.1}, 0.0, False, "collapsed"),
    )
    training = trained_at(
        Budget(1e12, "flops"),
        teacher=ModelFacts("teacher", "d" * 64),
        traces=TraceFacts(1500, 1340, 2),
        tuning=TuningFacts(
            ("sft",), ("rl",), ("kd",), (2, 3), True, ("base", "material", "budget", "dev items"),
            Budget(1e11, "tokens"), {"sft": tried},
        ),
        deterministic=True,
    ).training  # fmt: skip
    drawn = Decoding(0.6, 48, 0.95, 20, ("\n",), 3, {"as recorded": "solutions"})
    return BoardFacts(
        tasks={"t": TaskFacts("test", 50, 1319, 50, "0" * 64, 4, drawn, "t 1, grader number-1", 2)},
        engine=EngineFacts("vllm", "0.32.0", "float32", "cpu", {"max_model_len": 512}, "vllm 0.32.0 float32"),
        sandbox=("T1", "none needed"),
        versions={"trl": "1.16.0"},
        runs=("runs/a", "runs/b"),
        training=training,
    )


def refuse_unlike_schema(facts):
    """Raise `jsonschema.ValidationError` unless a board's JSON is as board.schema.json says, by its kind."""
    schema = json.loads((ROOT / "harness/board/board.schema.json").read_text(encoding="utf-8"))
    kind = {"$ref": f"#/$defs/{facts.get('kind', 'board')}"}  # of the four alone, so that the error names the place
    assert kind in schema["oneOf"]
    jsonschema.validate(json.loads(json.dumps(facts)), {**schema, "oneOf": [kind]})


def graded(digest, values, **changes):
    """A record an item with these strict verdicts."""
    return [record(f"t/test/{i:03d}", float(v), checkpoint=digest, **changes) for i, v in enumerate(values)]


def written(folder, values, digest, name, evaluation="one", **changes):
    """A run folder with one finished evaluation of one checkpoint."""
    file = f"evals/t-{digest[:4]}-{evaluation}/records-1.jsonl"
    records = graded(digest, values, **changes)
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("".join(record_to_json(r) + "\n" for r in records))
    row = {"name": name, "runs": [{"digest": digest}]}
    write_json(folder / "results" / f"{name}-{evaluation}.json", {"board": {"rows": [row]}, "records": [file]})
    return folder


def harness(*arguments, cwd=".", **environment):
    """Run the command line in this process, without a second of imports: what it printed, and its exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code, before = 0, signal.getsignal(signal.SIGTERM)
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", [HARNESS, *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as exit:
            code = exit.code
        finally:
            signal.signal(signal.SIGTERM, before)
    return subprocess.CompletedProcess(sys.argv, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def harness_process(*arguments, cwd, **environment):
    """The same in a process of its own, by the installed script: what only that shows."""
    return subprocess.run(
        [HARNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=500,
        check=False,
    )
