"""The loop behind `rl` and `kd&rl`. Imports torch and TRL: import it inside `train` only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from harness.meter import Meter
from harness.protocols import TrainData
from harness.types import Score, Trained

from ..configs import GRPOConfig, Training
from .collapse import Collapsed, LossWatch, Rollouts, RolloutWatch
from .metering import BudgetCallback, MeteredSampler, Order, adapter, arguments, devices, finished, fit
from .rollouts import sampler
from .weights import load_parent, load_teacher


class RewardFunction:
    """The reward function TRL calls: `data.judge` in threads, since a code reward waits for a sandbox process."""

    __name__ = "reward"

    def __init__(self, data: TrainData, meter: Meter, group_size: int, pool: ThreadPoolExecutor) -> None:
        self.data, self.meter, self.group_size, self.pool = data, meter, group_size, pool
        # of the last call: rollouts; of these graded, without an answer, in groups without variance
        self.n = self.rewarded = self.unread = self.silent = 0
        self.sample = ""  # an example: one of the last replies

    def __call__(self, completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
        asked = [(i, completion[0]["content"]) for i, completion in zip(row, completions, strict=True)]
        different = list(dict.fromkeys(asked))  # a group often holds the same reply several times
        with self.meter.phase("reward"):
            judged = dict(zip(different, self.pool.map(self._judge, different), strict=True))
        self.meter.charge_grading(sum(cpu_s for _, cpu_s in judged.values()))
        scores = [judged[pair][0] for pair in asked]
        rewards = [score.value for score in scores]
        groups = [rewards[i : i + self.group_size] for i in range(0, len(rewards), self.group_size)]
        self.silent = sum(len(g) for g in groups if len({r for r in g if r is not None}) <= 1)
        self.n, self.unread = len(scores), sum(score.answer is None for score in scores)
        self.rewarded = sum(reward is not None for reward in rewards)
        self.sample = asked[0][1]
        return rewards

    def _judge(self, asked: tuple[int, str]) -> tuple[Score, float]:
        begun = time.thread_time()
        return self.data.judge(self.data.rows[asked[0]], asked[1]), time.thread_time() - begun


def train_on_rewards(training: Training[GRPOConfig], teacher_coef: float = 0.0) -> Trained:
    """The loop of `GRPO.train`, and with a teacher_coef of `KDRL.train`."""
    stage, config, parent, data = training.stage, training.config, training.parent, training.data
    meter, out = training.meter, training.out
    if (earlier := finished(meter, out)) is not None:
        return earlier
    sampling = sampler(config.rollouts, config.vllm_memory)
    from trl import GRPOConfig as TRLConfig

    if config.prompts_per_step % devices():
        raise ValueError(
            f"trainer {stage.trainer!r}: {devices()} devices must divide prompts_per_step={config.prompts_per_step}"
        )
    per_step = config.prompts_per_step * config.group_size
    args = TRLConfig(
        **arguments(training, per_step),
        **sampling,
        num_generations=config.group_size,
        max_completion_length=config.max_tokens,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        mask_truncated_completions=config.mask_truncated,
        beta=config.kl_coef,
        # TRL's own leaves out a reply whose log-ratio between trainer and engine passes ln 3; rounding in bfloat16
        # takes one in ten of 300 tokens past it, and more of longer ones
        vllm_importance_sampling_mode="token_truncate",
    )
    model, tokenizer = load_parent(parent)
    prompts = [[{"role": m.role, "content": m.content} for m in row.sample.messages] for row in data.rows]
    dataset = Dataset.from_dict({"prompt": prompts, "row": range(len(prompts))})
    order = Order(data.rows, stage.seed, config.prompts_per_step, config.group_size, args.steps_per_generation)
    with ThreadPoolExecutor(config.reward_threads) as pool:
        judge = RewardFunction(data, meter, config.group_size, pool)
        trainer = _trainer_class()(
            model, judge, args, train_dataset=dataset, processing_class=tokenizer, peft_config=adapter(config, meter)
        )
        trainer.judge, trainer.max_logp_gap = judge, config.max_logp_gap
        if teacher_coef:
            assert data.teacher is not None
            trainer.add_teacher(load_teacher(data.teacher, parent), teacher_coef)
        callback = BudgetCallback(meter, order, config.warmup, LossWatch(max_kl=config.max_kl))
        callback.rollouts = RolloutWatch(stage.trainer, config.patience, config.max_tokens, config.max_clipped)
        return fit(trainer, callback, parent, out)


def _trainer_class() -> Any:
    """The metered GRPOTrainer; in a function because `rollouts.sampler` must run before TRL is imported."""
    from trl import GRPOTrainer

    class Trainer(RewardedRollouts, GRPOTrainer):  # type: ignore[misc]
        pass

    return Trainer


@dataclass(frozen=True)
class RolloutCounts:
    """The rollouts of a step on all devices. tokens: read and sampled; for the others see `RewardFunction`."""

    tokens: int
    n: int
    silent: int
    unread: int
    rewarded: int


class RewardedRollouts(MeteredSampler):
    """A mix-in for GRPOTrainer: charges and watches the rollouts of each step, adds a teacher, checks the engine."""

    judge: RewardFunction
    max_logp_gap: float
    rounding: float | None = None  # see `_rounding`; measured on the first rollouts
    teacher: Any = None
    teacher_coef = 0.0

    # of GRPOTrainer
    accelerator: Any
    args: Any
    model: Any
    state: Any
    temperature: float
    _metrics: Any
    _get_per_token_logps_and_entropies: Any

    def add_teacher(self, teacher: Any, coef: float) -> None:
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(teacher, temperature=self.temperature)
        self.teacher, self.teacher_coef = teacher.to(self.accelerator.device), coef

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        meter = self.budget_callback.meter
        with meter.phase("generate"):
            out: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        counts = self._charge(out)
        self._check_engine(out)
        self._watch(counts)
        if self.teacher is not None:
            with meter.phase("score"):
                self._ask_teacher(out)
            meter.score(counts.tokens)
            meter.generate(counts.tokens, 0)
        return out

    def _charge(self, out: dict[str, Any]) -> RolloutCounts:
        """Charge what the student read and sampled."""
        meter, judge = self.budget_callback.meter, self.judge
        local = int(out["prompt_mask"].sum()), judge.n, judge.silent, judge.unread, judge.rewarded
        read, n, silent, unread, rewarded = self.budget_callback.total(*local)
        mean_length = self._metrics["train"]["completions/mean_length"][-1]
        sampled = round(n * mean_length)  # the mask leaves out what is not trained on
        meter.generate(read, sampled, n, silent)
        for extra in ("ref_per_token_logps", "old_per_token_logps"):  # one more forward pass each
            if extra in out:
                meter.generate(read + sampled, 0)
        return RolloutCounts(read + sampled, n, silent, unread, rewarded)

    def _watch(self, counts: RolloutCounts) -> None:
        """Log the rollouts, and raise `Collapsed` or `Refused` if nothing can be learnt from them."""
        step, metrics = self.state.global_step, self._metrics["train"]
        if not counts.rewarded:
            raise Collapsed(f"none of the {counts.n} rollouts of a step could be graded", step)
        unread = counts.unread / counts.n
        metrics["unread"].append(unread)
        clipped, reward = metrics["completions/clipped_ratio"][-1], metrics["reward"][-1]
        seen = Rollouts(counts.n, reward, unread, clipped, counts.silent / counts.n)
        assert self.budget_callback.rollouts is not None
        self.budget_callback.rollouts.see(step, seen, self.judge.sample)

    def _ask_teacher(self, out: dict[str, Any]) -> None:
        """Add the teacher's log-ratio to the advantage of every token."""
        mask = out["completion_mask"]
        tokens = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
        real = torch.cat([out["prompt_mask"], mask], dim=1)
        batch = self.args.per_device_train_batch_size
        with torch.no_grad():
            theirs, ours = (
                self._get_per_token_logps_and_entropies(model, tokens, real, mask.size(1), batch)[0]
                for model in (self.teacher, self.model)
            )
        pull = self.teacher_coef * (theirs - ours) * mask
        push = out["advantages"].unsqueeze(1)
        metrics = self._metrics["train"]
        metrics["teacher_kl"].append(float(((ours - theirs) * mask).sum() / mask.sum()))
        # log the sizes of the two terms: if one is a hundredth of the other, effectively one method alone trains
        metrics["teacher_advantage"].append(float(pull.abs().sum() / (pull.abs() + (push * mask).abs()).sum()))
        out["advantages"] = push + pull

    def _check_engine(self, out: dict[str, Any]) -> None:
        """Raise RuntimeError if the engine is further from the trainer than rounding explains, on all devices."""
        gaps = self._metrics["train"]["sampling/sampling_logp_difference/mean"]
        if not gaps:
            return
        if self.rounding is None:
            self.rounding = self._rounding(out)
        # The trainer's own distance and the engine's, which keeps weights in 16 bits too: 1.6 times as far as the
        # trainer on SmolLM2-135M.
        explained = 3 * self.rounding
        if not gaps[-1] <= self.max_logp_gap + explained:
            raise RuntimeError(
                f"vLLM's log-probabilities are {gaps[-1]:.3g} nats per token off the trainer's at step "
                f"{self.state.global_step}, rounding explains {explained:.3g}, and the limit beyond it is "
                f"max_logp_gap={self.max_logp_gap}: the engine serves other weights, or its dtype is too coarse; "
                "try rollouts='transformers'"
            )

    def _rounding(self, out: dict[str, Any]) -> float:
        """Mean distance in nats of the trainer's log-probabilities from float32's, on a micro-batch of rollouts.

        Not charged: a stage that goes on after a kill measures it again.
        """
        if not self.accelerator.native_amp:
            return 0.0
        n = self.args.per_device_train_batch_size
        mask = out["completion_mask"][:n]
        tokens = torch.cat([out["prompt_ids"][:n], out["completion_ids"][:n]], dim=1)
        real = torch.cat([out["prompt_mask"][:n], mask], dim=1)
        labels = tokens.masked_fill(real == 0, -100)
        labels[:, : -mask.size(1)] = -100
        with torch.no_grad():  # accelerate keeps the forward without autocast under this name
            whole = self.model._original_forward(
                input_ids=tokens, attention_mask=real, labels=labels, fused_lm_head=True
            )
        exact = whole.log_probs[:, -mask.size(1) :]
        off = ((out["old_per_token_logps"][:n] - exact).abs() * mask).sum()
        total, count = self.accelerator.reduce(torch.stack([off, mask.sum().to(off)]), reduction="sum")
        return float(total / count.clamp(min=1.0))
