"""The lock: the settings and baselines of a gate. Only `harness gate accept` writes one.

A lock is a JSON file: settings, the items of each task in a shuffled order, and for each baseline the digest of
the file beside it that holds its per-item scores. It ends in a seal, the SHA-256 of everything before: after a manual
edit or a bad merge nothing is compared until the lock is accepted again. A seal is a checksum, not a signature.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import get_args

import numpy as np

from harness.atomic import write_text
from harness.board.entries import Run
from harness.errors import DataError, NotComparable, UsageError
from harness.gate.decide import Design, Policy, Settings, Tier
from harness.gate.family import MOST_CHECKPOINTS
from harness.records.columns import ReplyIndex
from harness.types import READINGS, sha256_of

SCHEMA = 2
RULES = ("grader version", "decoding", "engine", "sandbox")
"""What must be equal for a comparison, besides the hashes of item and prompt, which are kept per item."""
MUST_AGREE = (*RULES, "item", "prompt", "samples")


@dataclass(frozen=True)
class LockedItem:
    """One row of a per-item file. strict, lenient: sums over the samples; n: samples that have a verdict."""

    task: str
    id: str
    item: str  # first characters of the item hash
    prompt: str  # first characters of the prompt hash
    n: int
    strict: float
    lenient: float
    cluster: str = ""  # first characters of its cluster; "": not recorded

    @property
    def group(self) -> str:
        """The same for items that are not independent of each other, in any task; see `ReplyIndex.item_clusters`."""
        return self.cluster or self.prompt or f"{self.task}/{self.id}"

    def is_sound(self, samples: int) -> bool:
        """Whether the sums are possible with this number of samples."""
        return 0 <= min(self.strict, self.lenient) <= max(self.strict, self.lenient) <= self.n <= samples


@dataclass(frozen=True)
class PerItem:
    """The per-item scores of a checkpoint, and what must be equal for a comparison.

    samples: replies per item. rules: for each task and field of `RULES` its values. counts: of all replies, how many
    have no score, were truncated, and held no answer. published: for each task its share and number of items, if the
    scores are published ones without records; the items have no score then.
    """

    name: str
    checkpoint: str
    samples: int
    rules: Mapping[str, Mapping[str, list[str]]]
    counts: Mapping[str, int]
    items: tuple[LockedItem, ...]
    tokens_per_reply: float = 0.0
    published: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    @classmethod
    def of_published(cls, scores: Mapping[str, tuple[float, int]], items: Sequence[LockedItem]) -> PerItem:
        """Published scores; items: those that a candidate is evaluated on."""
        name = "published " + ", ".join(f"{task} {100 * share:g}" for task, (share, _) in scores.items())
        counts = dict.fromkeys(("replies", "errored", "truncated", "unparsable"), 0)
        return cls(name, f"recorded:{sha256_of(scores)}", 1, {}, counts, tuple(items), published=dict(scores))

    @classmethod
    def of(cls, name: str, run: Run) -> PerItem:
        """The per-item scores of a run.

        Raises `NotComparable` if items have different numbers of samples, `DataError` if the run has no records.
        """
        columns = run.columns
        if not len(columns):
            raise DataError(f"{name!r} has no records; evaluate it again")
        places, numbers = columns.places, np.bincount(columns.places.item_of)
        if len(set(numbers.tolist())) > 1:
            raise NotComparable(f"{name!r} has items with {numbers.min()} and with {numbers.max()} samples")
        firsts = np.unique(places.item_of, return_index=True)[1].tolist()
        graded = ~np.isnan(columns.verdicts["strict"]) & ~np.isnan(columns.verdicts["lenient"])
        n, strict, lenient = (
            np.bincount(places.item_of, np.where(graded, values, 0.0))
            for values in (graded.astype(float), columns.verdicts["strict"], columns.verdicts["lenient"])
        )
        items = tuple(
            LockedItem(
                places.tasks[at],
                places.ids[at],
                shortened(places.compared["item"][at]),
                shortened(places.compared["prompt"][at]),
                int(n[number]),
                float(strict[number]),
                float(lenient[number]),
                shortened(places.clusters[at]),
            )
            for number, at in enumerate(firsts)
        )
        counts = {
            "replies": len(columns),
            "errored": int((~graded).sum()),
            "truncated": int((columns.cut & graded).sum()),
            "unparsable": int(columns.unread.sum()),
        }
        rules = {task: _rules(places) for task, (_, places) in places.by_task.items()}
        return cls(name, run.digest, int(numbers.max()), rules, counts, items, float(columns.n_tokens.mean()))

    @property
    def weights(self) -> str:
        """The digest of the weights; empty if it is not known."""
        return "" if self.checkpoint.startswith(("recorded:", "served:")) else self.checkpoint

    @property
    def greedy(self) -> bool:
        """Whether all replies were generated at temperature 0, so that the same weights give the same replies."""
        texts = [text for of in self.rules.values() for text in of["decoding"]]
        return bool(texts) and all(json.loads(text).get("temperature") == 0 for text in texts)

    @property
    def replies(self) -> str:
        """Digest of the scores and the rules they were made under; neither the name nor clusters are part of it."""
        items = [asdict(item) for item in self.items]
        for item in items:
            del item["cluster"]  # else a check repeated since clusters are recorded would be another attempt
        return sha256_of([self.samples, self.rules, items])

    def failed(self, task: str) -> tuple[int, int]:
        """(replies without a score, all replies) of a task."""
        items = [item for item in self.items if item.task == task]
        return sum(self.samples - item.n for item in items), self.samples * len(items)

    def continued(self, other: PerItem) -> PerItem:
        """These scores, and those of another evaluation for the items that have none here."""
        known = {(item.task, item.id) for item in self.items}
        more = tuple(item for item in other.items if (item.task, item.id) not in known)
        return replace(self, items=self.items + more)

    def only(self, items: Mapping[str, Sequence[str]]) -> PerItem:
        """The same scores, restricted to these items."""
        wanted = {(task, id_) for task, ids in items.items() for id_ in ids}
        kept = tuple(item for item in self.items if (item.task, item.id) in wanted)
        return replace(self, items=kept, rules={task: of for task, of in self.rules.items() if task in items})

    def text(self) -> str:
        """The per-item file: a first line about all items, then one line per item."""
        head = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "items"}
        lines = [{"schema": SCHEMA, **head}, *map(asdict, self.items)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    @classmethod
    def from_text(cls, text: str, source: str) -> PerItem:
        """The scores in the text of a per-item file.

        Raises `DataError` if the text is not a per-item file, an item appears twice, or a score is not a valid number.
        """
        try:
            head, *lines = (json.loads(line, parse_constant=_refuse) for line in text.rstrip("\n").split("\n"))
            schema = head.pop("schema")
            items = tuple(LockedItem(**line) for line in lines)
            found = cls(**head, items=items)
            published = [(float(share), int(n)) for share, n in found.published.values()]
            odd = [item for item in items if not item.is_sound(found.samples)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{source} is not a per-item file ({type(error).__name__}: {error})") from None
        if schema != SCHEMA:
            raise DataError(f"{source} has schema {schema}, this version reads {SCHEMA}; accept the baseline again")
        if any(not 0 <= share <= 1 or n < 1 for share, n in published):
            raise DataError(f"{source} has a published score outside of 0 to 1, or of no items")
        if odd:
            raise DataError(
                f"{source}: item {odd[0].task} {odd[0].id} has a score outside of 0 to its {odd[0].n} samples"
            )
        seen = set()
        for item in items:
            if (item.task, item.id) in seen:
                raise DataError(f"{source}: item {item.task} {item.id} appears twice")
            seen.add((item.task, item.id))
        return found


def shortened(digest: str) -> str:
    """The part of a hash that is kept per item."""
    return digest[:16]


def _rules(places: ReplyIndex) -> dict[str, list[str]]:
    return {rule: sorted(set(places.compared[rule])) for rule in RULES}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a score")


@dataclass(frozen=True)
class Baseline:
    """An accepted checkpoint. file: its per-item file, relative to the lock. sha256: of that file's bytes."""

    name: str
    checkpoint: str
    file: str
    sha256: str
    accepted: str
    reason: str


@dataclass(frozen=True)
class Lock:
    """items: for each task its items in the order they are evaluated. baselines: "release", "previous".

    samples: replies per item of a candidate. A baseline may have another number.
    """

    settings: Settings
    items: Mapping[str, list[str]]
    shuffle_seed: int
    samples: int
    baselines: Mapping[str, Baseline]

    @property
    def seal(self) -> str:
        """SHA-256 of everything in the lock."""
        return sha256_of(asdict(self))

    @property
    def n(self) -> int:
        """Number of items of all tasks."""
        return sum(map(len, self.items.values()))


BASELINES = ("release", "previous")


@dataclass(frozen=True)
class Acceptance:
    """A decision to accept a checkpoint. accepted: when, in UTC. release: it becomes the `release` baseline too.

    samples: replies per item of a candidate; None: as the lock before, else as many as the checkpoint has.
    """

    reason: str
    accepted: str
    release: bool = False
    samples: int | None = None


def shuffled(per_item: PerItem, seed: int) -> dict[str, list[str]]:
    """For each task its items that have a score (all if the scores are published ones), in a shuffled order."""
    found: dict[str, list[str]] = {}
    for item in per_item.items:
        if item.n or per_item.published:
            found.setdefault(item.task, []).append(item.id)
    for task, ids in found.items():
        random.Random(f"{seed} {task}").shuffle(ids)
    return found


def accept(path: Path, before: Lock | None, candidate: PerItem, settings: Settings, acceptance: Acceptance) -> Lock:
    """Write a lock whose `previous` baseline is the candidate (and `release` too, if asked or if there is none).

    Raises `NotComparable` if a release baseline that stays has other rules or items, or if too many replies failed, and
    `UsageError` if a task has a single item. Nothing is written then.
    """
    names = BASELINES if acceptance.release or before is None else ("previous",)
    seed = before.shuffle_seed if before else 0
    if before is None or acceptance.release:
        items = shuffled(candidate, seed)
    else:
        items = dict(before.items)
        kept = read_per_item(path, "release", before.baselines["release"])
        alike = replace(before, samples=candidate.samples)  # a baseline may have more replies than a candidate
        refuse_missing(scores_of(kept, candidate, alike, settings)[1], before, candidate.name)
    refuse_failed(candidate, settings, items)
    if few := [task for task, ids in items.items() if len(ids) < 2]:
        raise UsageError(f"task {few[0]} has a single item, too few to test: leave it out of the gate")
    candidate = candidate.only(items)
    text = candidate.text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    of = Baseline(candidate.name, candidate.checkpoint, "", digest, acceptance.accepted, acceptance.reason)
    made = {name: replace(of, file=f"{path.stem}.{name}.jsonl") for name in names}
    samples = acceptance.samples or (before.samples if before and not acceptance.release else candidate.samples)
    lock = Lock(settings, items, seed, samples, {**(before.baselines if before else {}), **made})
    whole = json.dumps({"schema": SCHEMA, **asdict(lock), "seal": lock.seal}, indent=1, allow_nan=False) + "\n"
    for baseline in made.values():
        write_text(path.with_name(baseline.file), text)
    write_text(path, whole)
    return lock


def read_lock(path: Path) -> Lock:
    """The lock. Raises `NotComparable` if it is missing, is not a valid lock, or was edited."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        schema, seal = values.pop("schema"), values.pop("seal")
        baselines = {name: Baseline(**of) for name, of in values.pop("baselines").items()}
        lock = Lock(settings=Settings(**values.pop("settings")), baselines=baselines, **values)
        sound = _is_sound(lock)
    except FileNotFoundError:
        raise NotComparable(
            f"lock {path} does not exist: make one from the run to compare with: harness gate accept RUN --lock {path}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NotComparable(f"{path} is not a valid lock ({type(error).__name__}: {error}); {_ANEW}") from None
    if schema != SCHEMA:
        raise NotComparable(f"{path} has schema {schema}, this version reads {SCHEMA}; {_ANEW}")
    if seal != lock.seal:
        raise NotComparable(f"{path} was edited after it was accepted: its seal does not match; {_ANEW}")
    if not sound:
        raise NotComparable(
            f"{path} cannot be decided: its tasks, items, release baseline or settings are not valid; {_ANEW}"
        )
    return lock


_ANEW = "restore it from version control, or accept again: harness gate accept RUN --release"


def _is_sound(lock: Lock) -> bool:
    """Whether a lock with a matching seal can be decided; the seal alone does not prove valid content."""
    settings, tasks = lock.settings, set(lock.items)
    margins = [settings.margin, *settings.margins.values()]
    return (
        bool(tasks)
        and all(len(set(ids)) == len(ids) > 1 for ids in lock.items.values())
        and "release" in lock.baselines
        and set(settings.margins) == (tasks if len(tasks) > 1 else set())
        and all(0 < margin < 100 for margin in margins)
        and set(settings.tiers) <= set(settings.margins)
        and set(settings.tiers.values()) <= set(get_args(Tier))
        and 1 <= settings.checkpoints <= MOST_CHECKPOINTS
        and LEAST_ALPHA <= settings.alpha < 0.5
        and settings.policy in get_args(Policy)
        and settings.design in get_args(Design)
        and settings.reading in READINGS
        and settings.primary in ("macro", "items")
        and 0 <= settings.max_errors < 1
    )


LEAST_ALPHA = 1e-6


def read_per_item(lock: Path, name: str, baseline: Baseline) -> PerItem:
    """The scores of a baseline. Raises `NotComparable` if its file is missing or not the accepted one."""
    path = lock.with_name(baseline.file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotComparable(
            f"the per-item file {path} of the {name} baseline cannot be read ({error.strerror}): it belongs beside the "
            f"lock, committed with it; {_ANEW}"
        ) from None
    if hashlib.sha256(content).hexdigest() != baseline.sha256:
        raise NotComparable(f"{path} is not the accepted file of the {name} baseline: its digest differs; {_ANEW}")
    return PerItem.from_text(content.decode(), str(path))


def refuse_failed(of: PerItem, settings: Settings, items: Mapping[str, Sequence[str]]) -> None:
    """Raise `NotComparable` if more replies to a task have no score than the settings allow."""
    for task in [] if of.published else dict.fromkeys(item.task for item in of.items):
        errored, replies = of.failed(task)
        if errored > settings.max_errors * replies and (task in items or not items):
            raise NotComparable(
                f"{of.name!r}: {errored} of {replies} replies to {task} have no score, more than "
                f"{100 * settings.max_errors:g} %; evaluate it again"
            )


def scores_of(
    baseline: PerItem, candidate: PerItem, lock: Lock, settings: Settings, allowed: frozenset[str] = frozenset()
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(baseline, candidate) scores in the lock's order; NaN: the candidate has no item yet, the baseline no score.

    A reply of the candidate without a score counts as wrong. allowed: fields that may differ. Raises `NotComparable`
    with the field or the item.
    """
    refuse_other_rules(baseline, candidate, lock.samples, allowed)
    ours, theirs = ({(item.task, item.id): item for item in per_item.items} for per_item in (candidate, baseline))
    found: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    for task, ids in lock.items.items():
        columns: tuple[list[float], list[float]] = ([], [])
        for id_ in ids:
            base, item = theirs.get((task, id_)), ours.get((task, id_))
            if base is None:
                raise NotComparable(f"the baseline {baseline.name!r} has no score for {task} {id_}; {_ANEW}")
            if item is not None:
                for part in ("item", "prompt"):
                    known = getattr(base, part)  # the prompts of published scores are not known
                    if known and part not in allowed and getattr(item, part) != known:
                        raise NotComparable(
                            f"{candidate.name!r} and {baseline.name!r} differ in {part} at {task} {id_}: "
                            f"{getattr(item, part)!r} and {known!r}"
                        )
            columns[0].append(getattr(base, settings.reading) / base.n if base.n else np.nan)
            columns[1].append(np.nan if item is None else getattr(item, settings.reading) / candidate.samples)
        for of, values in zip(found, columns, strict=True):
            of[task] = np.array(values, float)
    return found


def refuse_other_rules(baseline: PerItem, candidate: PerItem, samples: int, allowed: frozenset[str]) -> None:
    """Raise `NotComparable` with the field in which the two evaluations differ. samples: wanted of the candidate."""
    if candidate.samples != samples and "samples" not in allowed:
        raise NotComparable(
            f"{candidate.name!r} has {candidate.samples} samples an item, the lock asks for {samples}; evaluate it "
            "again, or allow it: --allow samples"
        )
    for task in candidate.rules.keys() & baseline.rules.keys():
        for rule in RULES:
            mine, other = candidate.rules[task][rule], baseline.rules[task][rule]
            if rule == "decoding" and candidate.samples != baseline.samples:  # each sample may have a seed of its own
                few, many = sorted((mine, other), key=len)
                mine, other = [*few], [text for text in many if text in few]
            if mine != other and rule not in allowed:
                raise NotComparable(
                    f"{candidate.name!r} and {baseline.name!r} differ in {rule} of {task}: {mine} and {other}; "
                    "evaluate the candidate with the baseline's settings, or allow it: "
                    f"--allow {rule.replace(' ', '-')}"
                )


def refuse_missing(scores: Mapping[str, np.ndarray], lock: Lock, name: str) -> None:
    """Raise `NotComparable` if an item of the lock has no score."""
    for task, values in scores.items():
        if len(missing := np.flatnonzero(np.isnan(values))):
            raise NotComparable(
                f"{name!r} has no reply to {len(missing)} of the {len(values)} items of {task} in the lock, first "
                f"{lock.items[task][missing[0]]!r}; evaluate it on all of them"
            )
