"""Published scores of models beside ours on the same weights, each with the protocol that it was measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.board import entries
from harness.rendering import tables
from harness.statistics import intervals

KIND = "reproduced"


def reproduced_facts(plan: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the page. plan: the content of published.toml. measured: model -> engine, weights, tasks.

    tasks: task -> metric of lm-eval's results file -> value, and "n", that file's "n-samples" of the task.
    """
    scores = []
    for score in plan["scores"]:
        found = measured[score["model"]]["tasks"][score["task"]]
        n = found["n"]["effective"]
        ours = asdict(intervals.wilson(round(n * found[score["metric"]]), n))
        scores.append({**score, "here": ours, "n_of": found["n"]["original"]})
    models = {
        name: {**about, "engine": measured[name]["engine"], "digest": measured[name]["weights"]}
        for name, about in plan["models"].items()
    }
    return {"kind": KIND, "schema": entries.SCHEMA, "about": plan["about"], "models": models, "scores": scores}


def reproduced_markdown(facts: Mapping[str, Any]) -> str:
    """The page."""
    lines = [
        "# Published scores and ours",
        "",
        f"A score says little without the protocol that it was measured by. {facts['about']}",
        "",
        "Intervals are 95 %, over items.",
        "",
    ]
    head = ["Model", "Task", "Metric", "Published %", "By whom, how", "Here %", "n", "How, here", "Why they may differ"]
    rows = [
        [
            facts["models"][score["model"]]["name"],
            score["task"],
            score["metric"].removesuffix(",none").replace(",", ", "),
            f"{score['published']:.1f}",
            f"{score['source']}: {score['protocol']}",
            tables.percent(score["here"]),
            f"{score['here']['n']:,}" + (f" of {score['n_of']:,}" if score["here"]["n"] < score["n_of"] else ""),
            score["ours"],
            score["why"],
        ]
        for score in facts["scores"]
    ]
    lines += [*tables.table(head, rows), ""]
    for about in facts["models"].values():
        engine = ", ".join(f"{key} {value}" for key, value in about["engine"].items())
        lines.append(f"- {about['name']}: {about['weights']} (sha256 {about['digest'][:12]}); {engine}")
    return "\n".join(lines) + "\n"
