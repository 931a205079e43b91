"""Any task of lm-eval by its name ("gsm8k_cot"), drawn by our engines and judged by lm-eval's own code.

Prompts, filters, metrics and sums are lm-eval's, so they equal those of `lm_eval.simple_evaluate`; code runs in our
sandbox, and the data may lie in a folder. Faults of lm-eval's metrics are kept: our own reading stands beside them, in
the scores. Written for lm-eval 0.4.13; what is used of its private names is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import os
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.errors import DataError, GraderError, UnknownSplit, UsageError, boundary
from harness.graders.code import CODE_VERSION
from harness.graders.math import MATH_VERSION, score_math
from harness.graders.number import NUMBER_VERSION, score_number
from harness.interop.lm_eval_code import judging_code, not_scored, scores_of_run
from harness.interop.lm_eval_load import (
    LOAD_LOCK,
    OTHER_SEED,
    LoadedTask,
    LoadOptions,
    compiled_templates,
    load_task,
    name_aggregations,
    preserved_random_state,
    quietly,
)
from harness.interop.lm_eval_names import find, read_stock_config
from harness.protocols import CodeRunner, GradedItem, ReplyRequest
from harness.types import RAW, Generation, Message, Sample, SamplingParams, Score, Split

PREFIX = "lm_eval/"
MAX_TOKENS = 256  # where a task says nothing (lm_eval/defaults.py)
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first one given counts
_GREEDY_IGNORES = ("top_p", "top_k", "min_p", "seed", "num_return_sequences")  # what decides nothing without sampling


class StockTask:
    """A task of lm-eval: an `ItemTask` whose only split, "test", is what lm-eval evaluates on.

    num_fewshot, gen_kwargs and system_instruction act as lm-eval's options do. chat_from: a model folder whose chat
    template the prompts go through, shots as turns of their own. seed: of the first reply, where replies are sampled.
    Building one reads the task's YAML; lm-eval and the data are loaded when they are first needed, in each process.
    """

    def __init__(
        self,
        name: str,
        *,
        num_fewshot: int | None = None,
        gen_kwargs: Mapping[str, Any] | None = None,
        chat_from: Path | None = None,
        system_instruction: str | None = None,
        seed: int = 0,
        bootstrap_iters: int = 100_000,
    ) -> None:
        """Raises `UnknownName`, and `UsageError` for a group, a tag, or a task no engine of ours can serve."""
        self.stock_name = name.removeprefix(PREFIX)
        self.name = PREFIX + self.stock_name
        path = find(self.stock_name)
        config = read_stock_config(path)
        self._options = LoadOptions(
            self.stock_name,
            str(path),
            num_fewshot,
            json.dumps(dict(gen_kwargs or {})),
            str(chat_from or ""),
            system_instruction,
        )
        self._bootstrap_iters = bootstrap_iters
        self._seed = seed
        if config.get("output_type") == "loglikelihood_rolling":
            raise UsageError(f"task {self.name!r} wants the log-probability of whole texts (loglikelihood_rolling)")
        if config.get("doc_to_image") or config.get("doc_to_audio"):
            raise UsageError(f"task {self.name!r} shows images or sounds; only text can be asked for")
        self.needs_sandbox = config.get("unsafe_code") is True
        draws = dict(config.get("generation_kwargs") or {}) | dict(gen_kwargs or {})
        draws.setdefault("until", [config.get("fewshot_delimiter", "\n\n")])
        params = _params(draws, self.name)
        generates = config.get("output_type", "generate_until") == "generate_until"
        self.max_tokens = params.max_tokens if generates else 1
        self.stop: tuple[str, ...] = params.stop if generates else ()
        stated = config["metadata"].get("version") if isinstance(config.get("metadata"), dict) else None
        if stated is None:  # lm-eval's word for it is "Yaml"; a class may say more
            stated = self._loaded().task.VERSION if "class" in config else "Yaml"
        self.version = str(stated)
        ours = CODE_VERSION if self.needs_sandbox else f"{NUMBER_VERSION}, {MATH_VERSION}"
        self.judged_by = "lm-eval's own filters and metrics"
        self.grader = f"lm-eval {version('lm_eval')}, {ours}"

    def samples(self, split: Split) -> Sequence[Sample]:
        """All items, in lm-eval's order, each with the very prompt that lm-eval sends.

        Raises `UnknownSplit`, `DataError` where the data cannot be had, `UsageError` where requests cannot be served.
        """
        if split != "test":
            raise UnknownSplit(f"task {self.name!r} has no split {split!r}: lm-eval's tasks have test alone")
        loaded = self._loaded()
        with LOAD_LOCK:
            if loaded.samples is None:
                with boundary(UsageError, f"the prompts of task {self.name!r} cannot be built"):
                    loaded.samples = _build(loaded, self._options, self.name)
        return loaded.samples

    def asks(self, sample: Sample) -> Sequence[ReplyRequest]:
        """One ask for each repeat, or for each choice."""
        if "continuations" in sample.metadata:
            return [ReplyRequest(SamplingParams(1), continuation) for continuation in sample.metadata["continuations"]]
        params = _params(sample.metadata["gen_kwargs"], self.name, self._seed)
        repeats = range(sample.metadata["repeats"])
        return [ReplyRequest(params if params.seed is None else replace(params, seed=params.seed + r)) for r in repeats]

    def score(self, sample: Sample, text: str, runner: CodeRunner | None) -> Mapping[str, Score]:
        """Verdicts "strict" and "lenient" on one reply; value None for tasks that compare given choices."""
        if "continuations" in sample.metadata:
            return not_scored("the task compares the likelihoods of given choices, it reads no text")
        return self.judge(sample, [Generation("", text, 0, 0, "stop", "", 0.0)], runner).scores[0]

    def judge(self, sample: Sample, replies: Sequence[Generation], runner: CodeRunner | None) -> GradedItem:
        """lm-eval's metrics of the item, and our own reading of each reply. No metrics where a reply is missing.

        Raises `DataError` where code must run and there is no runner.
        """
        if self.needs_sandbox and runner is None:
            raise DataError(f"task {self.name!r} runs model-written code: give it a sandbox, got runner=None")
        if any(reply.finish == "error" for reply in replies):
            return GradedItem([self._read_alone(sample, reply) for reply in replies])
        loaded = self._loaded()
        with judging_code(runner, sample.metadata["doc"]) as ran:
            metrics, filtered = _verdict(loaded, sample, replies)
            runs = list(ran)
        scores = []
        for i, reply in enumerate(replies):
            reading = sample.metadata["reading"]
            if reading == "code":
                scores.append(
                    scores_of_run(runs[i]) if len(runs) >= len(replies) else not_scored("the program was not run")
                )
                continue
            stock = metrics, filtered
            if reading in ("number", "metric") and len(replies) > 1:
                stock = _verdict_alone(loaded, sample, reply)
            scores.append(_read(sample, reply.text, *stock))
        return GradedItem(scores, metrics, filtered)

    def aggregate(self, metrics: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """lm-eval's row of results: the number of items, and each "metric,filter" with its standard error."""
        found: Mapping[str, Any] = _plain(self._results(metrics, self._bootstrap_iters).metrics[self.stock_name])
        return found

    def describe(
        self, samples: Sequence[Sample] | None = None, metrics: Iterable[Mapping[str, Any]] = ()
    ) -> Mapping[str, Any]:
        """What lm-eval's results file says of the task beside its results, by the names of its sections.

        samples: those that were asked (None: all); metrics: of these. "task_hashes": the hash over documents, prompts
        and targets; runs with equal ones were asked the same.
        """
        asked = self.samples("test") if samples is None else samples
        results, name = self._results(metrics, bootstrap_iters=0), self.stock_name
        n = results.n_samples[name]
        described = {
            "configs": results.configs[name],
            "versions": results.versions[name],
            "n-shot": results.num_fewshot[name],
            "higher_is_better": results.higher_is_better[name],
            "n-samples": {"original": n["original"], "effective": n["effective"] or len(asked)},
            "task_hashes": _sha256("".join(h for _ in self._loaded().task._filters for s in asked for h in _hashes(s))),
        }
        found: Mapping[str, Any] = json.loads(json.dumps(described, default=_as_stock))
        return found

    def sample_rows(self, sample: Sample, replies: Sequence[Generation], judged: GradedItem) -> list[dict[str, Any]]:
        """The item's lines in lm-eval's samples file, one for each filter; none where it has no verdict.

        The file holds all lines of the first filter, then those of the next.
        """
        arguments, resps = _requests(sample, replies)
        doc_hash, prompt_hash, target_hash = _hashes(sample)
        rows = []
        for name, found in judged.filtered.items():
            own = {k.rpartition(",")[0]: v for k, v in judged.metrics.items() if k.rpartition(",")[2] == name}
            rows.append(
                {
                    "doc_id": sample.metadata["doc_id"],
                    "doc": sample.metadata["doc"],
                    "target": sample.target,
                    "arguments": {
                        f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(parts)}
                        for i, parts in enumerate(arguments)
                    },
                    "resps": _as_text(resps),
                    "filtered_resps": _as_text(found if len(arguments) > 1 else [found]),
                    "filter": name,
                    "metrics": list(own),
                    "doc_hash": doc_hash,
                    "prompt_hash": prompt_hash,
                    "target_hash": target_hash,
                    **own,
                }
            )
        return rows

    def _loaded(self) -> LoadedTask:
        with LOAD_LOCK:
            return load_task(replace(self._options, data=os.environ.get("HARNESS_DATA", "")))

    def _results(self, metrics: Iterable[Mapping[str, Any]], bootstrap_iters: int) -> Any:
        """lm-eval's `EvalAcc` over items' metrics."""
        from lm_eval.evaluator_utils import _process_results

        raw: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for item in metrics:
            for key, value in item.items():
                metric, _, name = key.rpartition(",")
                raw[metric, name].append(value)
        with LOAD_LOCK, quietly(), contextlib.redirect_stdout(sys.stderr):  # it prints that it bootstraps
            task = self._loaded().task
            name_aggregations(task, {metric for metric, _ in raw})
            accumulated = {self.stock_name: {"task": task, "raw_metrics": raw, "logged_samples": []}}
            return _process_results(accumulated, {}, bootstrap_iters)

    def _read_alone(self, sample: Sample, reply: Generation) -> dict[str, Score]:
        """Our reading of a reply to an item that gets no metrics."""
        if reply.finish == "error":
            return not_scored(f"no reply: {reply.error}")
        if sample.metadata["reading"] == "math":
            return _read(sample, reply.text, {}, {})
        return not_scored("another reply to the item is missing")


def _params(draws: Mapping[str, Any], name: str, seed: int = 0) -> SamplingParams:
    """What lm-eval's backends make of `generation_kwargs` (lm_eval/models/utils.py, `normalize_gen_kwargs`).

    Their stop strings hold the tokenizer's end of text too, where our engines stop anyway.
    """
    until = draws.get("until") or []
    stop = tuple(filter(None, until if isinstance(until, list) else [until]))
    length = next((int(draws[k]) for k in _LENGTHS if draws.get(k) is not None), MAX_TOKENS)
    temperature = float(draws.get("temperature") or 0.0)
    if draws.get("do_sample") is False:
        temperature = 0.0
    known = {"until", "do_sample", "temperature", *_LENGTHS, *(("top_p", "top_k", "seed") if temperature else ())}
    neutral = {k for k in draws if (k == "num_beams" and draws[k] == 1) or (not temperature and k in _GREEDY_IGNORES)}
    if other := sorted(set(draws) - known - neutral):
        raise UsageError(
            f"task {name!r} draws replies with {other[0]}={draws[other[0]]!r}, which no engine here can do"
        )
    if not temperature:
        return SamplingParams(length, stop=stop)
    top_k = int(draws.get("top_k") or 0)
    own_seed = draws.get("seed")
    return SamplingParams(
        length,
        temperature,
        float(draws.get("top_p", 1.0)),
        max(top_k, 0),
        stop,
        seed if own_seed is None else int(own_seed),
    )


def _requests(sample: Sample, replies: Sequence[Generation]) -> tuple[list[tuple[Any, ...]], list[list[Any]]]:
    """For each of lm-eval's requests of an item its arguments, and the list of replies."""
    prompt = sample.messages[0].content
    if "continuations" not in sample.metadata:
        return [(prompt, copy.deepcopy(sample.metadata["gen_kwargs"]))], [[reply.text for reply in replies]]
    arguments = [(prompt, continuation) for continuation in sample.metadata["continuations"]]
    return arguments, [[(r.logprob, r.is_greedy)] * sample.metadata["repeats"] for r in replies]


def _verdict(
    loaded: LoadedTask, sample: Sample, replies: Sequence[Generation], n_filters: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """lm-eval's metrics by "metric,filter", and by filter what it let through; as JSON data. n_filters None: all."""
    from lm_eval.api.instance import Instance

    if loaded.alone and threading.current_thread() is not threading.main_thread():
        raise GraderError("lm-eval's own graders set alarms: judge in the main thread of a process")
    task, doc = loaded.task, copy.deepcopy(sample.metadata["doc"])
    kind = "loglikelihood" if "continuations" in sample.metadata else "generate_until"
    place = (task.config.task, sample.metadata["doc_id"], sample.metadata["repeats"])
    instances = [
        Instance(kind, doc, arguments, idx, place, resps)
        for idx, (arguments, resps) in enumerate(zip(*_requests(sample, replies), strict=True))
    ]
    metrics, filtered = {}, {}
    for ensemble in task._filters[:n_filters]:
        ensemble.apply(instances)
    for name in instances[0].filtered_resps:
        found = [instance.filtered_resps[name] for instance in instances]
        for metric, value in task.process_results(doc, found).items():
            metrics[f"{metric},{name}"] = _plain(value)
        filtered[name] = _plain(found if len(found) > 1 else found[0])
    return metrics, filtered


def _verdict_alone(loaded: LoadedTask, sample: Sample, reply: Generation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The verdict of the first filter on one of several replies; empty where the filter wants them together."""
    try:
        return _verdict(loaded, sample, [reply], n_filters=1)
    except (AssertionError, IndexError, ValueError):
        return {}, {}


def _read(sample: Sample, text: str, metrics: Mapping[str, Any], filtered: Mapping[str, Any]) -> dict[str, Score]:
    """Our reading of a reply, where we have one for the task; else lm-eval's, where it is right or wrong."""
    reading = sample.metadata["reading"]
    if reading == "math":
        return score_math(text, sample.metadata["doc"]["solution"])
    stock = _first_metric(metrics, filtered)
    if reading != "number":
        return {"strict": stock, "lenient": stock}
    ours = score_number(text, _number(sample.target))
    # "strict" is the format that the task asks for: ours where that is "#### N", else what lm-eval takes for it
    return ours if "####" in sample.target else {"strict": stock, "lenient": ours["lenient"]}


def _first_metric(metrics: Mapping[str, Any], filtered: Mapping[str, Any]) -> Score:
    """The first metric of the first filter as a verdict."""
    key = next(iter(metrics), "")
    value, found = metrics.get(key), filtered.get(key.rpartition(",")[2])
    answer = found if isinstance(found, str) else None
    if isinstance(value, int | float) and value in (0, 1):
        return Score(float(value), answer, f"lm-eval: {key}")
    return Score(None, answer, f"lm-eval: {key or 'no metric'} is neither right nor wrong")


def _number(target: str) -> str:
    """What follows the last "####" of a target, or all of it."""
    return target.rpartition("####")[2].strip()


def _build(loaded: LoadedTask, options: LoadOptions, name: str) -> tuple[Sample, ...]:
    """All items, with prompts built in one go: the shots of an item depend on the draws for those before it."""
    task, template = loaded.task, _chat_template(options.chat_from)
    with quietly(), compiled_templates(), preserved_random_state(loaded.random_state):
        task.set_fewshot_seed(seed=OTHER_SEED)
        task.build_all_requests(
            system_instruction=options.system_instruction,
            apply_chat_template=template is not None,
            fewshot_as_multiturn=True,
            chat_template=template,
        )
        by_doc: dict[int, list[Any]] = defaultdict(list)
        for instance in task.instances:
            by_doc[instance.doc_id].append(instance)
        samples = []
        for doc_id, instances in by_doc.items():
            instances.sort(key=lambda instance: instance.idx)
            target = str(task.doc_to_target(instances[0].doc))
            samples.append(_sample(name, doc_id, instances, target))
    reading = _reading(task, samples)
    return tuple(replace(s, metadata={**s.metadata, "reading": reading}) for s in samples)


def _sample(name: str, doc_id: int, instances: Sequence[Any], target: str) -> Sample:
    """One item. Raises `UsageError` for requests that `asks` cannot state."""
    first = instances[0]
    kinds = {instance.request_type for instance in instances}
    prompts = {instance.args[0] for instance in instances}
    if kinds == {"loglikelihood"}:
        if len(prompts) > 1:
            raise UsageError(
                f"task {name!r} compares continuations of different texts (item {doc_id}, {len(prompts)} texts), as "
                f"acc_mutual_info and fill-in tasks do; an item here has one prompt"
            )
        own = {"continuations": [instance.args[1] for instance in instances]}
    elif kinds == {"generate_until"} and len(instances) == 1 and len(first.args) == 2:
        own = {"gen_kwargs": first.args[1]}
        _params(first.args[1], name)
    else:
        raise UsageError(f"task {name!r} asks {len(instances)} requests of {', '.join(sorted(kinds))} for one item")
    level = first.doc.get("level") if isinstance(first.doc, Mapping) else None
    metadata = {"doc_id": doc_id, "doc": first.doc, "repeats": first.repeats or 1, **own}
    metadata = json.loads(json.dumps(metadata, default=_as_stock))
    if isinstance(level, str | int):
        metadata["level"] = str(level)
    return Sample(f"{name}/test/{doc_id:04d}", (Message(RAW, first.args[0]),), target, metadata)


def _reading(task: Any, samples: Sequence[Sample]) -> str:
    """How replies are read: "choice", "code", "math" (boxed solutions), "number" (targets are numbers), "metric"."""
    if "continuations" in samples[0].metadata:
        return "choice"
    if getattr(task, "UNSAFE_CODE", False):
        return "code"
    docs = [sample.metadata["doc"] for sample in samples]
    if all(isinstance(doc, dict) and "\\boxed" in str(doc.get("solution", "")) for doc in docs):
        return "math"
    numbers = (re.fullmatch(r"-?[$]?[0-9][0-9,]*(\.[0-9]+)?", _number(sample.target)) for sample in samples)
    return "number" if all(numbers) else "metric"


def _chat_template(folder: str) -> Callable[..., str] | None:
    """As lm-eval's `HFLM.apply_chat_template`: without the system turn where the template refuses it."""
    if not folder:
        return None
    from jinja2 import TemplateError

    from harness.engines.transformers import load_tokenizer

    tokenizer = load_tokenizer(Path(folder))
    if tokenizer.chat_template is None:
        raise UsageError(f"the tokenizer in {folder} has no chat template")

    def render(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        draw = functools.partial(
            tokenizer.apply_chat_template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        try:
            return str(draw(history))
        except TemplateError:
            return str(draw([turn for turn in history if turn["role"] != "system"]))

    return render


def _hashes(sample: Sample) -> tuple[str, str, str]:
    """lm-eval's hashes of an item's document, prompt and target."""
    doc = json.dumps(sample.metadata["doc"], indent=2, ensure_ascii=False)
    return _sha256(doc), _sha256(sample.messages[0].content), _sha256(sample.target)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """JSON data of what a metric or a filter gives; numbers keep every digit."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _as_stock(value: Any) -> Any:
    """What lm-eval writes for a value that JSON does not know."""
    from lm_eval.utils import handle_non_serializable

    return handle_non_serializable(value)


def _as_text(value: Any) -> Any:
    """As lm-eval writes replies: lists of strings."""
    return [_as_text(v) for v in value] if isinstance(value, list | tuple) else str(value)
