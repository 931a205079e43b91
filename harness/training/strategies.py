"""The strategy grammar.

`kd+rl`: two stages in order that share one budget; `kd:0.3+rl:0.7` states the shares. `kd&rl`: one stage, both losses
in one loop. `sft.lora`: a variant of a trainer. The last two are trainers of their own, looked up by the whole name.
"""

from __future__ import annotations

from harness import registry
from harness.errors import BadConfig
from harness.types import Budget, StageSpec, Strategy


def parse_strategy(text: str) -> Strategy:
    """The strategy a user wrote. Raises `UnknownName` for a trainer that is not installed, `BadConfig` for bad shares.

    Stages without a share divide what the stated shares leave; shares must add up to 1.
    """
    parts = [part.strip() for part in text.split("+")]
    shares: list[float | None] = []
    trainers: list[str] = []
    for part in parts:
        name, _, share = part.partition(":")
        if not name:
            raise BadConfig(f"strategy {text!r}: a stage has no trainer; write it like 'kd+rl' or 'kd:0.3+rl:0.7'")
        trainers.append(_trainer(name))
        shares.append(_share(text, share) if share else None)
    stated = sum(s for s in shares if s is not None)
    open_stages = shares.count(None)
    rest = (1.0 - stated) / open_stages if open_stages else 0.0
    if (open_stages and rest <= 0) or (not open_stages and abs(stated - 1.0) > 1e-9):
        raise BadConfig(f"strategy {text!r}: the shares must add up to 1, got {stated:g}")
    return Strategy(
        text, tuple(StageSpec(t, s if s is not None else rest) for t, s in zip(trainers, shares, strict=True))
    )


def parse_list(text: str) -> tuple[Strategy, ...]:
    """The strategies in `sft,kd,rl,kd+rl`, in order. Raises `BadConfig` for an empty list or a strategy named twice."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise BadConfig("no strategy given; write them like --strategies sft,kd,rl,kd+rl")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadConfig(f"strategy {twice[0]!r} is named twice; use --seeds to repeat a strategy")
    return tuple(parse_strategy(name) for name in names)


def share_of(stage: StageSpec, total: Budget) -> float:
    """What a stage may spend of the strategy's budget, in its unit."""
    return total.amount * stage.share


def _trainer(name: str) -> str:
    """The installed trainer of that name; the losses of a joint one may stand in any order."""
    installed = registry.names("trainer")
    parts = sorted(part.strip() for part in name.split("&"))
    joint = (known for known in installed if len(parts) > 1 and sorted(known.split("&")) == parts)
    found = next(joint, name)
    registry.check_installed("trainer", found)
    return found


def _share(text: str, share: str) -> float:
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise BadConfig(f"strategy {text!r}: a share must be a number in (0, 1], got {share!r}")
    return value
