"""A board as one HTML page that needs nothing beside it: no network, no framework, no second file. Pure functions.

The page holds the board's JSON and blocks of text: items and verdicts for each task, replies for each row and task. A
block is deflated (zlib) in base64, and the page unpacks it only when a reader asks for what is in it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from harness.board.fact_sentences import caption, how_it_was_made, note_text
from harness.board.facts import facts_from_json, note_from_json
from harness.board.form import warnings

STEPS = 240  # a verdict is one byte: so many steps from 0 to 1, a number that most counts of seeds and repeats divide
UNJUDGED = 255  # the byte of a verdict that is None
ROOM = 0.99  # replies are left out down to this share of the bytes allowed: the estimate of a reply's size is rough


@dataclass(frozen=True)
class PageItem:
    """One held-out item as a reader sees it. question, target: "" if not recorded."""

    id: str
    question: str = ""
    target: str = ""


@dataclass(frozen=True)
class Answers:
    """What one row of a board answered to the items of one task, in the order of the task's items.

    verdicts: strict score in [0, 1], mean over seeds and repeats; None: not graded.
    texts: one reply an item (first seed, first repeat); empty: none kept.
    """

    verdicts: Sequence[float | None]
    texts: Sequence[str] = ()


RowOfTask = tuple[int, int]  # number of the task, number of the row


def render_page(
    facts: Mapping[str, Any],
    items: Mapping[str, Sequence[PageItem]],
    answers: Mapping[str, Mapping[str, Answers]],
    pictures: Mapping[str, str] = {},
    most_bytes: int = 50_000_000,
) -> str:
    """The page as text, to be written as UTF-8.

    facts: an `entries.Board` as JSON; what a row lacks is not shown. items: by task. answers: by name of a row,
    then by task. pictures: SVG text by title. most_bytes: what all replies may take in the page; beyond it some are
    left out, by the rule of `_within`, and the page says so. Raises ValueError for answers that do not fit the rows and
    items, and for a picture that is not an SVG.
    """
    _refuse(facts, items, answers, pictures)
    names = [row["name"] for row in facts.get("rows", [])]
    found: dict[RowOfTask, Answers] = {
        (t, r): answers[name][task]
        for t, task in enumerate(items)
        for r, name in enumerate(names)
        if task in answers.get(name, {})
    }
    named = facts.get("reference")
    reference = names.index(named) if named in names else 0
    replies, n_left_out = _within(found, reference, most_bytes)
    blocks = {f"replies-{t}-{r}": text for (t, r), text in replies.items()}
    tasks = []
    for t, (task, of) in enumerate(items.items()):
        rows = [r for r in range(len(names)) if (t, r) in found]
        tasks.append({"name": task, "n": len(of), "rows": rows, "texts": [r for r in rows if (t, r) in replies]})
        columns = {key: [getattr(item, key) for item in of] for key in ("id", "question", "target")}
        blocks[f"items-{t}"] = _packed(_json(columns).encode())
        blocks[f"verdicts-{t}"] = _packed(b"".join(_bytes(found[t, r].verdicts) for r in rows))
    made = facts_from_json(facts.get("facts", {}))
    about_form = warnings(facts.get("rows", []), facts.get("reading", "strict"))
    notes = [*about_form, *(note_text(note_from_json(note)) for note in facts.get("notes", []))]
    held = {
        "board": facts,
        "caption": caption(facts.get("n_items", {}), made, facts.get("clusters")),
        "notes": notes,
        "how": how_it_was_made(made),
        "tasks": tasks,
        "reference": reference,
        "steps": STEPS,
        "unjudged": UNJUDGED,
        "left_out": {"n": n_left_out, "of": sum(len(a.texts) for a in found.values()), "bytes": most_bytes},
    }
    return _filled(str(facts.get("title", "")), held, pictures, blocks)


def _refuse(
    facts: Mapping[str, Any],
    items: Mapping[str, Sequence[PageItem]],
    answers: Mapping[str, Mapping[str, Answers]],
    pictures: Mapping[str, str],
) -> None:
    names = {row["name"] for row in facts.get("rows", [])}
    for name, of in answers.items():
        if name not in names:
            raise ValueError(f"answers of {name!r}, which is not a row of the board; rows: {', '.join(sorted(names))}")
        for task, given in of.items():
            if task not in items:
                raise ValueError(f"answers of {name!r} to {task!r}, a task without items")
            n = len(items[task])
            if len(given.verdicts) != n or len(given.texts) not in (0, n):
                had = f"{len(given.verdicts)} verdicts and {len(given.texts)} texts"
                raise ValueError(f"answers of {name!r} to {task!r}: {had} for {n} items")
            odd = [v for v in given.verdicts if v is not None and not 0 <= v <= 1]
            if odd:
                raise ValueError(f"answers of {name!r} to {task!r}: a verdict is in [0, 1] or None, got {odd[0]}")
    for title, svg in pictures.items():
        if not svg.startswith("<svg"):
            raise ValueError(f"picture {title!r} must start with '<svg', got {svg[:20]!r}")


# ------------------------------------------------------------------------------------------------ replies


def _within(found: Mapping[RowOfTask, Answers], reference: int, most_bytes: int) -> tuple[dict[RowOfTask, str], int]:
    """The replies of each place, packed, and how many were left out so that they take at most `most_bytes`.

    Left out first: replies where the row and the reference are both right, both wrong or both not graded (of the
    reference itself: if that holds for every row), the longest first. Then the others, the longest first.
    """
    kept: dict[RowOfTask, list[str | None]] = {
        place: list(given.texts) for place, given in found.items() if given.texts
    }
    packed = {place: _packed_replies(texts) for place, texts in kept.items()}
    if _size(packed) <= most_bytes:
        return packed, 0
    queue = _queue(found, reference)
    n = 0
    while _size(packed) > most_bytes and n < len(queue):
        excess = _size(packed) - ROOM * most_bytes
        raw = {place: 1 + sum(len(text) for text in texts if text) for place, texts in kept.items()}
        touched = set()
        while n < len(queue) and excess > 0:
            place, i = queue[n]
            excess -= len(kept[place][i] or "") * len(packed[place]) / raw[place]
            kept[place][i] = None
            touched.add(place)
            n += 1
        packed |= {place: _packed_replies(kept[place]) for place in touched}
    return packed, n


def _queue(found: Mapping[RowOfTask, Answers], reference: int) -> list[tuple[RowOfTask, int]]:
    """All replies as (place, number of the item), in the order in which they are left out."""
    classes = {place: [_is_right(v) for v in given.verdicts] for place, given in found.items()}
    flips: dict[RowOfTask, list[bool]] = {}
    for (t, r), of in classes.items():
        theirs = classes.get((t, reference))
        flips[t, r] = [True] * len(of) if theirs is None else [a != b for a, b in zip(of, theirs, strict=True)]
    for t in {t for t, r in classes if r == reference}:
        flips[t, reference] = [any(of) for of in zip(*(flips[place] for place in flips if place[0] == t), strict=True)]
    order = sorted(
        (flips[place][i], -len(text), place, i) for place, given in found.items() for i, text in enumerate(given.texts)
    )
    return [(place, i) for _, _, place, i in order]


def _is_right(verdict: float | None) -> bool | None:
    """Whether an item counts as right for a row: at least half of its replies were. None: not graded."""
    return None if verdict is None else verdict >= 0.5


def _packed_replies(texts: Sequence[str | None]) -> str:
    return _packed(_json(texts).encode())


def _size(packed: Mapping[RowOfTask, str]) -> int:
    return sum(map(len, packed.values()))


# ------------------------------------------------------------------------------------------------ text


def _bytes(verdicts: Iterable[float | None]) -> bytes:
    """One byte a verdict. Only 0 is all wrong and only STEPS all right."""
    return bytes(
        UNJUDGED if v is None else int(v) * STEPS if v in (0, 1) else min(max(round(v * STEPS), 1), STEPS - 1)
        for v in verdicts
    )


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode()


def _json(value: Any) -> str:
    """JSON in ASCII (so also U+2028 and lone surrogates pass) that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _escaped(text: str) -> str:
    """Text for HTML, in ASCII; safe in elements and quoted attributes."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def _figure(title: str, svg: str) -> str:
    """An image, not inline: what is in it can neither run, nor style the page, nor share its ids with another one."""
    image = base64.b64encode(svg.encode("utf-8", "replace")).decode()
    name = _escaped(title)
    return (
        f'<figure class="picture"><div class="scroll"><img alt="{name}" src="data:image/svg+xml;base64,{image}"></div>'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _filled(title: str, held: Mapping[str, Any], pictures: Mapping[str, str], blocks: Mapping[str, str]) -> str:
    """The template with its places filled in one pass: what is filled in is never read as a place."""
    template = resources.files("harness.board").joinpath("page.html").read_text(encoding="utf-8")
    filling = {
        "title": _escaped(title),
        "pictures": "\n".join(_figure(*picture) for picture in pictures.items()),
        "board": _json(held),
        "blocks": "\n".join(f'<script type="text/plain" id="{key}">{text}</script>' for key, text in blocks.items()),
        "style_hash": _hash(template, "style"),
        "script_hash": _hash(template, "script"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: filling[place[1]], template)


def _hash(template: str, tag: str) -> str:
    """What the page's security policy knows its one inline style or script by."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
