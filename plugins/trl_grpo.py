"""The loop behind `rl`. Imports torch and TRL: import it inside `train` only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import import_utils

from harness.budget import Meter
from harness.protocols import TrainData
from harness.types import Checkpoint, Stage, Trained

from .rl import GRPOConfig
from .trl_glue import Diverged, Ledger, Metered, Order, arguments, finished, fit, load

_CPU_CACHE_BYTES = 1 << 28  # vLLM would take a share of the whole machine's memory


class Judge:
    """The reward function TRL calls: `data.reward` in threads, since a code reward waits for a sandbox process."""

    __name__ = "reward"

    def __init__(self, data: TrainData, meter: Meter, group_size: int, pool: ThreadPoolExecutor) -> None:
        self.data, self.meter, self.group_size, self.pool = data, meter, group_size, pool
        self.zero_advantage = 0  # rollouts of the last call whose group had no variance

    def __call__(self, completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
        asked = [(i, completion[0]["content"]) for i, completion in zip(row, completions, strict=True)]
        different = list(dict.fromkeys(asked))  # a group often holds the same reply several times
        judged = dict(zip(different, self.pool.map(self._judge, different), strict=True))
        self.meter.verify(sum(cpu_s for _, cpu_s in judged.values()))
        rewards = [judged[pair][0] for pair in asked]
        if all(reward is None for reward in rewards):
            raise Diverged(f"none of the {len(rewards)} rollouts of a step could be judged")
        groups = [rewards[i : i + self.group_size] for i in range(0, len(rewards), self.group_size)]
        self.zero_advantage = sum(len(g) for g in groups if len({r for r in g if r is not None}) <= 1)
        return rewards

    def _judge(self, asked: tuple[int, str]) -> tuple[float | None, float]:
        begun = time.thread_time()
        return self.data.reward(self.data.rows[asked[0]], asked[1]), time.thread_time() - begun


def train_on_rewards(
    stage: Stage, config: GRPOConfig, parent: Checkpoint, data: TrainData, meter: Meter, out: Path
) -> Trained:
    """See `GRPO.train`."""
    if (earlier := finished(meter, out)) is not None:
        return earlier
    use_vllm = config.rollouts == "vllm" or (config.rollouts == "auto" and torch.cuda.is_available())
    _prepare_vllm() if use_vllm else _leave_vllm_out()
    from trl import GRPOConfig as TRLConfig

    per_step = config.prompts_per_step * config.group_size
    args = TRLConfig(
        **arguments(stage, out, config.learning_rate, config.micro_batch, per_step),
        num_generations=config.group_size,
        max_completion_length=config.max_tokens,
        temperature=1.0,  # anything else would bias the importance ratio
        top_p=1.0,
        top_k=0,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        beta=config.kl_coef,
        use_vllm=use_vllm,
        vllm_mode="colocate",
        shuffle_dataset=False,
    )
    model, tokenizer = load(parent)
    prompts = [[{"role": m.role, "content": m.content} for m in row.sample.messages] for row in data.rows]
    dataset = Dataset.from_dict({"prompt": prompts, "row": range(len(prompts))})
    order = Order(data.rows, stage.seed, config.prompts_per_step, config.group_size, args.steps_per_generation)
    with ThreadPoolExecutor(config.reward_threads) as pool:
        judge = Judge(data, meter, config.group_size, pool)
        trainer = _trainer_class()(model, judge, args, train_dataset=dataset, processing_class=tokenizer)
        trainer.judge, trainer.max_logp_gap = judge, config.max_logp_gap
        return fit(trainer, Ledger(meter, order, config.warmup), parent, out)


def _trainer_class() -> Any:
    """The metered GRPOTrainer, made late: what importing it costs depends on `_leave_vllm_out`."""
    from trl import GRPOTrainer

    class Trainer(Metered, GRPOTrainer):  # type: ignore[misc]
        judge: Judge
        max_logp_gap: float

        def masks(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            trained = inputs["completion_mask"]
            return torch.cat([inputs["prompt_mask"], trained], dim=1), trained

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            out: dict[str, Any] = super()._generate_and_score_completions(inputs)
            read, sampled = int(out["prompt_mask"].sum()), int(out["completion_mask"].sum())
            self.ledger.meter.generate(read, sampled, len(inputs), self.judge.zero_advantage)
            for extra in ("ref_per_token_logps", "old_per_token_logps"):  # one more forward pass each
                if extra in out:
                    self.ledger.meter.generate(read + sampled, 0)
            self._check_engine()
            return out

        def _check_engine(self) -> None:
            gaps = self._metrics["train"]["sampling/sampling_logp_difference/mean"]
            if gaps and not gaps[-1] <= self.max_logp_gap:
                raise RuntimeError(
                    f"vLLM's log-probabilities are {gaps[-1]:.3g} nats per token off the trainer's at step "
                    f"{self.state.global_step}, at most max_logp_gap={self.max_logp_gap} may be: the engine serves "
                    "other weights, or its dtype is too coarse; try rollouts='transformers'"
                )

    return Trainer


def _leave_vllm_out() -> None:
    """TRL imports vLLM wherever it is installed, used or not (6 s on a laptop core)."""
    import_utils.is_vllm_available = lambda *_, **__: False


def _prepare_vllm() -> None:
    """Pass the engine arguments TRL has no option for; on CPU, keep weights in a form that can be updated."""
    import trl.generation.vllm_generation as seam

    if torch.cuda.is_available():
        seam.LLM = partial(seam.LLM, dtype="bfloat16")  # the trainer computes in bfloat16 too
        return
    import vllm.model_executor.layers.utils as layers

    seam.LLM = partial(seam.LLM, dtype="float32", enforce_eager=True, kv_cache_memory_bytes=_CPU_CACHE_BYTES)
    layers.dispatch_cpu_unquantized_gemm = _plain_linear  # vLLM's own repacks a weight once and drops the original


def _plain_linear(layer: Any, remove_weight: bool) -> None:  # noqa: ARG001  (vLLM passes it by name)
    layer.cpu_linear = torch.nn.functional.linear
