"""The page of `ci/gpu`: what engines and trainers did on one GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.rendering import tables

KIND = "gpu"
_NONE = "–"
_MOST = 12  # names in a list; the JSON has all


def gpu_markdown(facts: Mapping[str, Any]) -> str:
    """The page, from the JSON that `ci/gpu` keeps; parts without a result are left out."""
    found = {name: part["facts"] for name, part in facts["parts"].items()}
    lines = [f"# On one {'GPU' if facts['device'] == 'cuda' else 'CPU'}", ""]
    if facts["device"] == "cpu" or facts["quick"]:
        shapes = "Tiny shapes" if facts["quick"] else "Full size"
        lines += [f"> **A trial of `ci/gpu`, not a measurement.** {shapes}, on a {_DEVICES[facts['device']]}.", ""]
    lines += [*_setup(found.get("setup", {}), facts), ""]
    for section in (_parts(facts["parts"]), _engine(found.get("engine", {})), _trainers(facts["parts"])):
        lines += section
    lines += _speed(found.get("speed", {}))
    lines += _seeds({name: of for name, of in found.items() if name.startswith("seeds")})
    lines += _memory(found.get("memory", {}).get("peaks", []))
    lines += _commands(found.get("compare", {}), found.get("gate", {}))
    return "\n".join(lines).rstrip() + "\n"


_DEVICES = {"cuda": "GPU", "cpu": "CPU"}


def _setup(of: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """A line for each fact of the machine and the packages."""
    if gpu := of.get("gpu"):
        yield (
            f"- {gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB, compute capability {gpu['capability']}; driver "
            f"{of.get('driver') or 'unknown'}, torch built for CUDA {of['cuda_build']}"
        )
    yield f"- model: {facts['model'] or 'random weights of the shape of SmolLM2-135M'}"
    if "packages" in of:
        versions = ", ".join(f"{name} {version}" for name, version in of["packages"].items())
        yield f"- {versions}; commit {of['commit'][:12]}"
    if pins := of.get("pins"):
        other = [f"{name} {here} (pinned {pin})" for name, (pin, here) in pins["off"].items() if here]
        missing = [name for name, (_, here) in pins["off"].items() if not here]
        off = "; ".join(f"{what}: {_some(of)}" for what, of in (("other versions", other), ("missing", missing)) if of)
        others = f"{len(pins['off'])} of {pins['n']} differ: {off}" if off else f"all {pins['n']} are installed"
        yield f"- pins of {pins['file']}: {others}"
    if "pip_check" in of:
        yield f"- `pip check`: {'; '.join(of['pip_check']) or 'no broken requirements'}"
    if "doctor" in of:
        odd = "; ".join(f"{line['what']}: {line['text']}" for line in of["doctor"])
        yield f"- `harness doctor`: {tables.line(odd) or 'all ok'}"


def _parts(parts: Mapping[str, Any]) -> Iterator[str]:
    """What was run, how it ended, and each error."""
    rows = []
    for name, of in parts.items():
        why = f": {of['error']}" if of["status"] == "left out" else ""
        rows.append([name, of["status"] + why, f"{of['wall_s']:.0f}", str(of["limit_s"])])
    yield from _section("Parts", ["Part", "Result", "Seconds", "Limit"], rows)
    for name, of in parts.items():
        if of["status"] in ("failed", "timed out"):
            yield from (f"{name}, {of['status']}:", "", "```text", *of["error"].strip().splitlines(), "```", "")


def _engine(of: Mapping[str, Any]) -> Iterator[str]:
    if "engine" not in of:
        return
    steps = ("before", "start", "generate", "rest", "swap", "swap_back", "end")
    held = of.get("device_bytes", {})
    rows = [[_WORDS.get(s, s), _number(of.get(f"{s}_s"), ".1f"), _gb(held.get(s))] for s in steps if s in held]
    about = ", ".join(f"{name} {value}" for name, value in of["engine"].items() if value is not None)
    yield from _section("Engine", ["Step", "Seconds", "Device memory in use after it, GB"], rows)
    yield f"- {about}"
    if "generated_tokens" in of and of.get("generate_s"):
        yield f"- {of['generated_tokens'] / of['generate_s']:,.0f} tokens/s over {of['generated_tokens']:,} tokens"
    if "replies" in of:
        scores, replies = of["log_probabilities"], of["replies"]
        yield (
            f"- swapped to other weights, {scores['changed_by_swap']} of {scores['n']} log-probabilities changed; "
            f"swapped back, {scores['equal_after_swap_back']} of them and {replies['equal_after_swap_back']} of "
            f"{replies['n']} greedy replies were the same as before"
        )
    if proof := of.get("proof"):
        gap, limit = (_number(proof[name], ".2g") for name in ("gap_nats", "limit_nats"))
        swaps = f"{proof['swaps_in_place']} of 2 swaps proven in place"
        yield f"- {swaps}; log-probabilities {gap} nats off (limit {limit})"
    yield from (f"- {tables.line(notice)}" for notice in of.get("notices", ()))
    if why := of.get("instead_of_vllm"):
        yield f"- in place of vLLM: {why}"
    yield ""


_WORDS = {"before": "before it", "swap_back": "swap back", "end": "ended"}


def _trainers(parts: Mapping[str, Any]) -> Iterator[str]:
    stages = {name: of["facts"]["stage"] for name, of in parts.items() if "stage" in of["facts"]}
    if not stages:
        return
    head = ["Trainer", "Status", "Steps", "Trained tokens/s", "Sampled tokens/s", "Peak GB", "Estimated GB"]
    head += ["Computed in", "logp gap"]
    rows = [
        [
            f"`{name}`",
            of["status"] + (f": {of['why']}" if of["why"] else ""),
            str(of["steps"]),
            _number(of["train_tokens_per_s"], ",.0f"),
            _number(of["generated_tokens_per_s"], ",.0f"),
            _gb(of["peak_device_bytes"]),
            _gb(of.get("estimated_bytes")),
            of["computed_in"] or _NONE,
            _number(of["logp_gap"], ".3g"),
        ]
        for name, of in stages.items()
    ]
    yield from _section("A stage of each trainer", head, rows)
    yield (
        "Medians over steps without the first. Peak: what torch had allocated on the device; estimated: by the formula "
        "of the dry run. logp gap: nats from vLLM to the trainer."
    )
    yield ""


def _speed(of: Mapping[str, Any]) -> Iterator[str]:
    if not of.get("rounds"):
        return
    rows = [
        [
            str(number),
            *(f"{of_round[who]['train_tokens_per_s']:,.0f}" for who in ("ours", "trl")),
            f"{of_round['ratio']:.3f}",
            *(_gb(of_round[who]["peak_device_bytes"]) for who in ("ours", "trl")),
        ]
        for number, of_round in enumerate(of["rounds"], 1)
    ]
    head = ["Round", "`sft`, tokens/s", "bare TRL, tokens/s", "Ratio", "`sft`, peak GB", "bare TRL, peak GB"]
    yield from _section("Our `sft` and TRL's own loop", head, rows)
    if batch := of.get("batch"):
        yield f"The same rows in turns: {batch['rows']} rows, {batch['tokens']:,} tokens a step; medians over steps."
        yield ""


def _seeds(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        [
            pair["what"],
            "yes" if "deterministic" in name else "no",
            "equal" if pair["equal"] else "differ",
            f"{pair['max_abs_difference']:.2g}",
        ]
        for name, of in parts.items()
        for pair in of.get("pairs", ())
    ]
    if rows:
        head = ["What", "Deterministic algorithms", "Weights", "Largest difference"]
        yield from _section("The same seed twice", head, rows)


def _memory(peaks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        [
            of["what"] + (" (plain torch)" if of["plain_torch"] else ""),
            f"{of['rows']} x {of['width']:,}",
            _gb(of.get("peak_device_bytes")),
            _gb(of.get("estimated_bytes")),
            {True: "yes", False: "no", None: _NONE}[of.get("layers_computed_again")],
            _number(of.get("seconds"), ".2f"),
            of.get("error", ""),
        ]
        for of in peaks
    ]
    if rows:
        head = ["Step", "Rows x tokens", "Peak GB", "Estimated GB", "Layers computed again", "Seconds", ""]
        yield from _section("Memory: a student of 0.5B weights, a teacher of 1.5B", head, rows)


def _commands(compared: Mapping[str, Any], gate: Mapping[str, Any]) -> Iterator[str]:
    if not compared and not gate:
        return
    yield from ("## `harness compare` and `harness gate check`", "")
    if "strict" in compared:
        scores = ", ".join(
            f"{name} {_number(share and 100 * share, '.1f')}" for name, (share, _) in compared["strict"].items()
        )
        engine, n = " ".join(compared["engine"].values()), max(n for _, n in compared["strict"].values())
        yield f"- pico_math on {engine}, strict % of {n} items: {scores}"
    if "changed" in gate:
        yield f"- the same weights again: {gate['verdict']}; {gate['changed']} of {gate['items']} verdicts changed"
    yield ""


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"## {title}", "", *tables.table(head, [[tables.line(cell) for cell in row] for row in rows]), "")


def _some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else f"{value:{form}}"


def _gb(n_bytes: int | None) -> str:
    return f"{n_bytes / 1e9:.1f}" if n_bytes else _NONE
