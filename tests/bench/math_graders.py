"""Our grader of maths answers against others, on pairs whose verdict is known: `python tests/bench/math_graders.py`.

Needs HARNESS_DATA (grader/test_suite_pairs.jsonl, real_answer_pairs.jsonl.gz, mr_gsm8k_subset.jsonl.gz, and
grader_outside/hardverify_math.jsonl, other_test_suites.jsonl); takes minutes. Names of sets as arguments measure these
only: `math_graders.py hardverify`.
What counts as right, each stated as a table of its own:
* suite, recorded: the verdict the other projects' tests record, all rows, though some are wrong mathematically.
* suite, read: a second reading, same or different; rows that "depend" on a convention are left out.
* real, clear: rows labelled equal or different.
* real, all: besides, "rounded" counts as different and "convention" as equal; "unclear" is left out.
* mr_gsm8k: whole solutions judged by people, nearly all wrong.
* hardverify: 250 questions, each with a right answer that rules refuse and a wrong one; some labels are doubtful.
* eight projects: pairs of the tests of eight other projects, with their conventions.
Every other rule gets the answer our lenient reader found; math-verify, which reads for itself, is shown both ways.
"""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import multiprocessing
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from second_math_grader import second_opinion

from harness.graders.math import score_math
from harness.graders.math_extract import extract

Rule = Callable[[str, str], bool | None]
STALL_S = 7.0  # without a verdict, and a rule of others is killed; the row counts as not accepted


@dataclass(frozen=True)
class Pair:
    gold: str
    pred: str
    equal: bool


@dataclass(frozen=True)
class Tally:
    """How one rule did on one set of pairs. n = right + false_accepts + false_rejects; undecided are in the latter.

    positives: pairs that are equal.
    """

    n: int
    positives: int
    false_accepts: int
    false_rejects: int
    undecided: int
    wall_s: float

    @property
    def accuracy(self) -> float:
        return (self.n - self.false_accepts - self.false_rejects) / self.n

    @property
    def precision(self) -> float:
        """Of what was accepted, the share that is equal."""
        right = self.positives - self.false_rejects
        return right / max(1, right + self.false_accepts)

    @property
    def recall(self) -> float:
        """Of what is equal, the share that was accepted."""
        return (self.positives - self.false_rejects) / max(1, self.positives)


def _rows(name: str, folder: str = "grader") -> list[dict[str, str]]:
    path = Path(os.environ["HARNESS_DATA"]) / folder / name
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith(".gz") else path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def pair_sets() -> dict[str, list[Pair]]:
    """The pairs by the name of their set."""
    suite, real = _rows("test_suite_pairs.jsonl"), _rows("real_answer_pairs.jsonl.gz")
    truth = {"equal": True, "convention": True, "different": False, "rounded": False}
    return {
        "suite, recorded": [Pair(r["gold"], r["pred"], bool(r["expected"])) for r in suite],
        "suite, read": [Pair(r["gold"], r["pred"], r["reading"] == "same") for r in suite if r["reading"] != "depends"],
        "real, clear": [
            Pair(r["gold"], r["pred"], truth[r["label"]]) for r in real if r["label"] in ("equal", "different")
        ],
        "real, all": [Pair(r["gold"], r["pred"], truth[r["label"]]) for r in real if r["label"] in truth],
        "mr_gsm8k": [
            Pair(
                str(r["ground_truth_answer"]),
                "\n".join(r["model_output_steps"]),
                r["model_output_answer_correctness"] == "correct",
            )
            for r in _rows("mr_gsm8k_subset.jsonl.gz")
        ],
        "hardverify": _outside("hardverify_math.jsonl"),
        "eight projects": _outside("other_test_suites.jsonl"),
    }


def _outside(name: str) -> list[Pair]:
    """Pairs of others; of several golds the first, of a reply in place of an answer the whole."""
    rows = _rows(name, "grader_outside")
    golds = [r["gold"] if isinstance(r["gold"], str) else r["gold"][0] for r in rows]
    return [Pair(g, r.get("pred", r.get("response", "")), bool(r["label"])) for g, r in zip(golds, rows, strict=True)]


def ours(gold: str, pred: str) -> bool | None:
    value = score_math(pred, gold)["lenient"].value
    return None if value is None else value == 1.0


def second(gold: str, pred: str) -> bool | None:
    return second_opinion(gold, _answer(pred))


def math_verify_plain(gold: str, pred: str) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(gold), parse(pred)))


def math_verify_latex(gold: str, pred: str) -> bool:
    return math_verify_plain(_in_dollars(gold), _in_dollars(pred))


def math_verify_read(gold: str, pred: str) -> bool:
    return math_verify_latex(gold, _answer(pred))


def minerva(gold: str, pred: str) -> bool:
    from lm_eval.tasks.minerva_math.utils import is_equiv, normalize_final_answer

    return bool(is_equiv(normalize_final_answer(_answer(pred)), normalize_final_answer(_answer(gold))))


def hendrycks(gold: str, pred: str) -> bool:
    from lm_eval.tasks.hendrycks_math.utils import is_equiv

    return bool(is_equiv(_bare(pred), _bare(gold)))


def same_string(gold: str, pred: str) -> bool:
    return re.sub(r"[\s$,]", "", _bare(gold)).lower() == re.sub(r"[\s$,]", "", _bare(pred)).lower()


OTHERS: dict[str, Rule] = {
    "math-verify, plain": math_verify_plain,
    "math-verify, in $": math_verify_latex,
    "math-verify, our reading": math_verify_read,
    "lm-eval minerva": minerva,
    "lm-eval hendrycks": hendrycks,
    "same string": same_string,
}


@cache
def _answer(text: str) -> str:
    return extract(text).last.answer or ""


def _bare(text: str) -> str:
    return _answer(text).strip().strip("$").strip()


def _in_dollars(text: str) -> str:
    return text if re.search(r"\$|\\boxed|\\\(|\\\[", text) else f"${text}$"


def load_others() -> None:
    """Import what the rules of others import, or each process of `verdicts` would again, in up to 4 s."""
    for name in ("math_verify", "lm_eval.tasks.minerva_math.utils", "lm_eval.tasks.hendrycks_math.utils"):
        importlib.import_module(name)


def verdicts(rule: Rule, pairs: list[Pair]) -> Iterator[bool | None]:
    """The rule's verdict on each pair, worked out in a process that is killed where it hangs or eats memory."""
    context = multiprocessing.get_context("fork")
    done = 0
    while done < len(pairs):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(rule, pairs[done:], sender))
        process.start()
        sender.close()
        try:
            while done < len(pairs) and receiver.poll(STALL_S):
                yield receiver.recv()
                done += 1
        except EOFError:
            pass
        process.kill()
        process.join()
        if done < len(pairs):
            yield None
            done += 1


def _work(rule: Rule, pairs: list[Pair], sender: multiprocessing.connection.Connection) -> None:
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for pair in pairs:
        try:
            verdict = rule(pair.gold, pair.pred)
        except Exception:  # a rule that fails on a pair does not accept it
            verdict = None
        sender.send(verdict)


def tally(rule: Rule, pairs: list[Pair]) -> Tally:
    start = time.monotonic()
    found = list(verdicts(rule, pairs)) if rule in OTHERS.values() else [rule(p.gold, p.pred) for p in pairs]
    return Tally(
        n=len(pairs),
        positives=sum(p.equal for p in pairs),
        false_accepts=sum(v is True and not p.equal for v, p in zip(found, pairs, strict=True)),
        false_rejects=sum(v is not True and p.equal for v, p in zip(found, pairs, strict=True)),
        undecided=sum(v is None for v in found),
        wall_s=time.monotonic() - start,
    )


def agreement(pairs: list[Pair]) -> tuple[int, int, int]:
    """(agree, disagree, second opinion cannot tell) of our grader and the second opinion."""
    both = [(ours(p.gold, p.pred), second(p.gold, p.pred)) for p in pairs]
    told = [(a, b) for a, b in both if b is not None]
    return sum(a == b for a, b in told), sum(a != b for a, b in told), len(both) - len(told)


def main() -> None:
    if "HARNESS_DATA" not in os.environ:
        sys.exit("set HARNESS_DATA to the folder that holds grader/test_suite_pairs.jsonl")
    load_others()
    print("| pairs | n | rule | accuracy | precision | recall | false accepts | false rejects | undecided | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, pairs in pair_sets().items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        for rule_name, rule in {"ours, lenient": ours, **OTHERS}.items():
            t = tally(rule, pairs)
            counts = f"{t.false_accepts} | {t.false_rejects} | {t.undecided} | {t.wall_s:.1f}"
            shares = f"{t.accuracy:.4f} | {t.precision:.4f} | {t.recall:.4f}"
            print(f"| {name} | {t.n} | {rule_name} | {shares} | {counts} |", flush=True)
        agree, disagree, silent = agreement(pairs)
        told = f"second opinion: agrees {agree}, disagrees {disagree}, silent {silent}"
        print(f"| {name} | {len(pairs)} | {told} | | | | | | | |")


if __name__ == "__main__":
    main()
