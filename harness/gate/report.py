"""The report of a verdict, for users and CI systems. Pure functions of the facts in verdict.json."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from harness.rendering import forest_plot, tables
from harness.statistics import intervals

GateFacts = Mapping[str, Any]

KIND, SCHEMA = "gate verdict", 2  # of verdict.json

MOST_BYTES = 60_000  # of a summary: a comment on GitHub holds 65,536 characters, and is lost as a whole above
MOST_ANNOTATIONS = 10  # GitHub shows this many of a kind per step
SIGNS = {"PASS": "✅", "BLOCK": "⛔", "INCONCLUSIVE": "❔"}
COLOURS = {"PASS": "brightgreen", "BLOCK": "red", "INCONCLUSIVE": "yellow"}


NAMES = (
    *("verdict.json", "summary.md", "junit.xml", "annotations.txt", "badge.json"),
    "items_flipped.csv",
    "forest.svg",
)
REFUSED = "NOT COMPARABLE"


def files(facts: GateFacts) -> dict[str, str]:
    """Name -> text of every file of a report: `NAMES`."""
    return {
        "summary.md": summary(facts),
        "junit.xml": junit(facts),
        "annotations.txt": "".join(f"{line}\n" for line in workflow_commands(facts)),
        "badge.json": json.dumps(gate_badge(facts)) + "\n",
        "items_flipped.csv": flipped(facts),
        "forest.svg": gate_forest(facts),
        "verdict.json": json.dumps(facts, indent=1, ensure_ascii=False) + "\n",  # last: a verdict has a whole report
    }


def refused(lock: str, why: str, exit_code: int) -> dict[str, str]:
    """Name -> text of the report if nothing could be compared; replaces every file of an earlier verdict."""
    facts = {"kind": KIND, "schema": SCHEMA, "verdict": REFUSED, "exit_code": exit_code, "why": why}
    root = ElementTree.Element("testsuite", name="harness gate", tests="1", errors="1", failures="0", skipped="0")
    case = ElementTree.SubElement(root, "testcase", classname="gate", name="comparable")
    ElementTree.SubElement(case, "error", message=_clean(why))
    badge = {"schemaVersion": 1, "label": "gate", "message": REFUSED.lower(), "color": "lightgrey"}
    return {
        "verdict.json": json.dumps(facts, indent=1, ensure_ascii=False) + "\n",
        "summary.md": f"{marker(lock)}\n## \U0001f6ab {REFUSED}\n\n{tables.escape_markup(why)[:_MOST_WHY]}\n",
        "junit.xml": _xml(root),
        "annotations.txt": f"::error title=gate {REFUSED}::{_escaped(why)}\n",
        "badge.json": json.dumps(badge) + "\n",
    }


_MOST_WHY = 10_000


def marker(lock: str) -> str:
    """The invisible first line of a summary, by which CI finds its comment again."""
    return f"<!-- harness gate {''.join(c for c in lock if c.isalnum() or c in '._-')} -->"


def headline(facts: GateFacts) -> str:
    """One sentence: the verdict and why."""
    names = " and ".join(f"{name} ({_line(of['name'])})" for name, of in facts["baselines"].items())
    worst = _worst(facts)
    return (
        f"{facts['verdict']}: {_line(facts['candidate']['name'])} compared with {names}, {_line(worst['task'])} "
        f"{_points(worst)} points, margin {worst['margin']:g}"
    )


def _line(text: str) -> str:
    """A name on one line, of bounded length."""
    flat = tables.line(text)
    return flat if len(flat) <= _LONGEST_NAME else f"{flat[: _LONGEST_NAME - 1]}…"


_LONGEST_NAME = 120


def _worst(facts: GateFacts) -> Mapping[str, Any]:
    """The check that decided, or the lowest difference of those that count."""
    checks: Sequence[Mapping[str, Any]] = [check for check in facts["checks"] if check["tier"] != "advisory"]
    if facts["verdict"] != "BLOCK":
        checks = [check for check in checks if check["tier"] == "critical"]
    deciding = [check for check in checks if check["verdict"] == facts["verdict"]]
    return min(deciding or checks, key=lambda check: check["value"])


def _points(check: Mapping[str, Any]) -> str:
    """Difference with its interval in points; alpha lies outside on either side."""
    return tables.percent(check, "+")


def summary(facts: GateFacts) -> str:
    """Markdown for a pull request, below GitHub's limits: what does not fit is cut from the end, with a note."""
    head = ["Check", "Verdict", "Difference, points", "Margin", "Gained / lost", "n", "p (any drop)", "p (margin)"]
    order = {"BLOCK": 0, "INCONCLUSIVE": 1, "PASS": 2}
    checks = sorted(facts["checks"], key=lambda check: (check["tier"] == "advisory", order[check["verdict"]]))
    shown = checks[:_MOST_CHECKS]
    left = len(checks) - len(shown)
    warnings = [tables.escape_markup(warning)[:_LONGEST_WARNING] for warning in facts["warnings"]]
    lines = [
        marker(facts["lock"]["file"]),
        f"## {SIGNS[facts['verdict']]} {tables.escape_markup(headline(facts))}",
        "",
        *tables.table(head, map(_summary_row, shown)),
        *([f"| and {left:,} more in verdict.json |" + " |" * 7] if left else []),
        "",
        *[f"> [!WARNING]\n> {warning}\n" for warning in warnings],
        _meaning(facts),
        "",
        *_sides(facts),
    ]
    text = "\n".join(lines) + "\n"
    return text + _folded(facts, MOST_BYTES - len(text.encode()))


_MOST_CHECKS = 100
_LONGEST_WARNING = 1000


def _summary_row(check: Mapping[str, Any]) -> list[str]:
    return [
        f"{tables.escape_markup(_name(check))}",
        f"{SIGNS[check['verdict']]} {check['verdict']}" + (f" ({check['note']})" if check["note"] else ""),
        _points(check),
        f"{check['margin']:g}",
        "–" if check["gained"] is None else f"{check['gained']} / {check['lost']}",
        f"{check['n']:,}",
        f"{check['p_worse']:.2g}",
        f"{check['p_below']:.2g}",
    ]


def _name(check: Mapping[str, Any]) -> str:
    """What is compared in a check, with its tier unless it must pass."""
    tier = "" if check["tier"] == "critical" else f" ({check['tier']})"
    return f"{_line(check['task'])} vs {check['baseline']}{tier}"


def _meaning(facts: GateFacts) -> str:
    settings, level, block = facts["settings"], 100 * facts["level"], 100 * facts["level_block"]
    levels = f"at {level:.3g} %" if level == block else f"of PASS at {level:.3g} %, of BLOCK at {block:.3g} %"
    counted = [check for check in facts["checks"] if check["tier"] != "advisory"]
    tiers = sorted(set(settings["tiers"].values()))
    notes = [f" {_TIERS[tier]}" for tier in tiers if tier in _TIERS]
    return (
        "**PASS**: a drop of the margin or more is ruled out. **BLOCK**: the candidate is significantly worse, and a "
        "drop of the margin is not ruled out. **INCONCLUSIVE**: neither can be shown with these items."
        f"{''.join(notes)} One-sided tests {levels}, BLOCK with Holm's correction for "
        f"{tables.count(len(counted), 'check')}; {100 - 2 * level:.4g} % intervals. "
        f"{settings['reading'].capitalize()} scores of {facts['n_used']:,} of {facts['n']:,} items, "
        f"{tables.count(facts['samples'], 'sample')} per item, design {settings['design']}, "
        f"policy {settings['policy']}; "
        f"{tables.count(facts['attempts'], 'attempt')}, {tables.count(facts['candidates_checked'], 'candidate')} "
        "checked on these items so far."
    )


_TIERS = {
    "supporting": "A supporting task must not BLOCK, and need not PASS.",
    "advisory": "An advisory task is tested alone and does not count.",
}


def _sides(facts: GateFacts) -> Iterator[str]:
    sides = {"candidate": facts["candidate"], **facts["baselines"]}
    rows = []
    for name, of in sides.items():
        counts = of["counts"]
        words = ("errored", "truncated", "unparsable")
        shares = [f"{100 * counts[word] / counts['replies']:.1f}" if counts["replies"] else "–" for word in words]
        tokens = f"{of['tokens_per_reply']:.0f}" if of["tokens_per_reply"] else "–"
        who = f"{name}: {tables.escape_markup(_line(of['name']))}"
        rows.append([who, f"`{of['checkpoint'].removeprefix('recorded:')[:12]}`",
                     *shares, tokens, tables.escape_markup(_line(of.get("reason", "–"))) or "–"])  # fmt: skip
    yield from tables.table(
        ["", "Weights", "Failed %", "Truncated %", "No answer %", "Tokens per reply", "Accepted because"], rows
    )
    yield ""


def _folded(facts: GateFacts, room: int) -> str:
    """The flipped items in a folded section, as many as fit."""
    start, end = "<details><summary>Items that flipped</summary>\n\n", "\n</details>\n"
    lines, used, left = [], len((start + end).encode()) + 100, 0
    for line in _flips(facts):
        size = len(line.encode()) + 1
        if left or used + size > room:
            left += 1
        else:
            lines.append(line)
            used += size
    if left:
        lines.append(f"- and {left:,} more: items_flipped.csv has them all")
    return start + "\n".join(lines or ["none"]) + end if room > used else ""


def _flips(facts: GateFacts) -> Iterator[str]:
    for baseline, tasks in facts["flipped"].items():
        for task, items in tasks.items():
            for word in ("lost", "gained"):
                yield from (
                    f"- {word} vs {baseline}: {tables.escape_markup(_line(task))} {tables.code(_line(item))}"
                    for item in items[word]
                )


def flipped(facts: GateFacts) -> str:
    """CSV: baseline, task, item, lost or gained."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["baseline", "task", "item", "change"])
    for baseline, tasks in facts["flipped"].items():
        for task, items in tasks.items():
            for word in ("lost", "gained"):
                writer.writerows([baseline, _cell(task), _cell(item), word] for item in items[word])
    return out.getvalue()


def gate_forest(facts: GateFacts) -> str:
    """SVG: the difference of every check with its interval, and the margin if all checks share one."""
    checks = facts["checks"]
    margins = {check["margin"] for check in checks}
    rows = [
        {
            "name": _clean(_name(c)) + (f", margin {c['margin']:g}" if len(margins) > 1 else ""),
            **{key: c[key] for key in ("verdict", "value", "low", "high", "n")},
        }
        for c in checks
    ]
    title = f"{_clean(_line(facts['candidate']['name']))}: {facts['verdict']}"
    margin = margins.pop() / 100 if len(margins) == 1 else None
    return forest_plot.forest_of(rows, "the baselines", title, margin, level=1 - 2 * facts["level"])


def _cell(text: str) -> str:
    """The text as a cell that no spreadsheet reads as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def junit(facts: GateFacts) -> str:
    """JUnit XML: one test case per check; BLOCK fails; INCONCLUSIVE is skipped, or fails under require-noninferior.

    An advisory check never fails, and a supporting one only by BLOCK: they are skipped instead.
    """
    strict = facts["settings"]["policy"] == "require-noninferior"
    checks = facts["checks"]
    must = {"BLOCK": ("critical", "supporting"), "INCONCLUSIVE": ("critical",) if strict else (), "PASS": ()}
    failed = [c for c in checks if c["tier"] in must[c["verdict"]]]
    skipped = [c for c in checks if c["verdict"] != "PASS" and c not in failed]
    root = ElementTree.Element(
        "testsuite", name="harness gate", tests=str(len(checks)), failures=str(len(failed)), skipped=str(len(skipped))
    )
    for check in checks:
        name = _clean(check["task"])
        case = ElementTree.SubElement(root, "testcase", classname=f"gate.{check['baseline']}", name=name)
        message = f"{check['verdict']}: {_points(check)} points, margin {check['margin']:g}, n {check['n']}"
        if check in failed:
            ElementTree.SubElement(case, "failure", message=message)
        elif check in skipped:
            ElementTree.SubElement(case, "skipped", message=message)
        else:
            ElementTree.SubElement(case, "system-out").text = message
    return _xml(root)


def _clean(text: str) -> str:
    """Text without characters that XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _xml(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def workflow_commands(facts: GateFacts) -> list[str]:
    """GitHub workflow commands: an error per blocked check, a warning per inconclusive one, the worst first."""
    kinds = {"BLOCK": "error", "INCONCLUSIVE": "warning"}
    found = []
    for check in sorted(facts["checks"], key=lambda check: (check["verdict"] != "BLOCK", check["value"])):
        if kind := kinds.get(check["verdict"]) if check["tier"] != "advisory" else None:
            text = f"{_name(check)}: {_points(check)} points, margin {check['margin']:g}"
            found.append(f"::{kind} title=gate {check['verdict']}::{_escaped(text)}")
    return found[:MOST_ANNOTATIONS]


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def gate_badge(facts: GateFacts) -> dict[str, Any]:
    """The badge, for the endpoint of shields.io."""
    worst = _worst(facts)
    message = f"{facts['verdict']} {100 * worst['value']:+.1f} points"
    return {"schemaVersion": 1, "label": "gate", "message": message, "color": COLOURS[facts["verdict"]]}


def report_lines(facts: GateFacts) -> list[str]:
    """The report as lines of text for the terminal."""
    found = [headline(facts)]
    for check in facts["checks"]:
        found.append(
            f"  {check['verdict']:<12} {_name(check)}: {_points(check)} points, "
            f"margin {check['margin']:g}, n {check['n']:,} ({check['method']})"
            + (f"; {check['note']}" if check["note"] else "")
        )
        if check["verdict"] == "INCONCLUSIVE" and check["n"] > 1 and check["error"]:
            found.append(f"{'':15}detectable drop: {detectable_drop(check):.1f} points (80 % power)")
    return [*found, *(f"  note: {tables.line(warning)}" for warning in facts["warnings"])]


def detectable_drop(check: Mapping[str, Any]) -> float:
    """The smallest true drop in points that this check would block with 80 % power, at its share of alpha by Holm."""
    return 100 * intervals.smallest_found(check["error"], check["n"] - 1, 2 * check["level"])
