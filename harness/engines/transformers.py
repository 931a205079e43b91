"""The engine that runs everywhere: Hugging Face `generate` in this process. The reference for vLLM.

Greedy replies in float32 equal vLLM's token for token. A sampled reply depends only on its own seed, not on the rest of
the batch (up to float rounding); it differs from vLLM's, which derives its random numbers from the seed differently.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from harness.engines.requests import checked
from harness.errors import EngineError
from harness.types import RAW, Checkpoint, EngineInfo, Finish, Generation, Message, Request, SamplingParams

_WINDOW = 16  # number of batches whose requests are sorted by length together


@dataclass(frozen=True)
class Prompt:
    """A chat as the model reads it."""

    ids: list[int]
    text: str  # after the chat template

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def leave_out_scikit_learn() -> None:
    """Keep transformers from importing scikit-learn with its models: 2 s of CPU, for a part of assisted generation.

    To be called before the first model class is imported; nothing here asks for assisted generation.
    """
    from transformers import utils

    utils.is_sklearn_available = lambda: False


@contextmanager
def own_code_refused(path: Path) -> Iterator[None]:
    """Says what to do where transformers or vLLM refuses to run the Python code that lies in a model folder."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise EngineError(
            f"{path} needs Python code of its own, which can do whatever you can; read it, and if you trust it, allow "
            "it with --engine-arg trust_remote_code=true"
        ) from None


def load_tokenizer(path: Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model folder, as `AutoTokenizer` builds it.

    trust_remote_code: run Python code that lies in the folder; raises `EngineError` if there is some that it needs.
    """
    leave_out_scikit_learn()
    from transformers import AutoTokenizer

    with own_code_refused(path):
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)


def load_model(path: Path, dtype: str, device: str = "cpu", trust_remote_code: bool = False) -> Any:
    """The model of a folder, ready to run. trust_remote_code: run Python code that lies in the folder.

    Raises `EngineError` if a weight is missing in the folder, or if it needs code of its own that is not trusted.
    """
    import torch

    leave_out_scikit_learn()
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # the command line shows its own progress bar
    options = {"local_files_only": True, "output_loading_info": True, "trust_remote_code": trust_remote_code}
    with own_code_refused(path):
        model, found = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), **options)
    if unset := sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]])):
        raise EngineError(f"{path}: {len(unset)} weights are missing or of another shape, first {unset[0]}")
    model.generation_config = GenerationConfig()  # a checkpoint's own penalties and temperatures must not be used
    return model.to(device).eval()


def render(tokenizer: Any, messages: Sequence[Message]) -> Prompt:
    """The chat rendered by the checkpoint's template, with the generation prompt; tokenized without special tokens.

    A RAW message is used unchanged, with the special tokens that the tokenizer adds to any text, as in lm-eval. Raises
    ValueError if a template is needed and the tokenizer has none.
    """
    if messages[0].role == RAW:
        text = "".join(m.content for m in messages)
        return Prompt(tokenize(tokenizer, text), text)
    if tokenizer.chat_template is None:
        raise ValueError("the checkpoint's tokenizer has no chat template; evaluate with --no-apply-chat-template")
    chat = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return Prompt(ids, text)


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """A plain text as token ids, with the special tokens that the tokenizer adds, unless it begins with them."""
    begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return list(tokenizer(text, add_special_tokens=not begun, verbose=False)["input_ids"])


def render_pair(tokenizer: Any, context: str, continuation: str) -> tuple[Prompt, list[int]]:
    """The context as the model reads it, and the token ids of the continuation, which includes blanks between the two.

    Same as in lm-eval 0.4.13 (api/model.py, `TemplateLM.loglikelihood`), so that the numbers are equal.
    """
    if not context:
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = list(tokenizer(continuation, add_special_tokens=False, verbose=False)["input_ids"])
        return (Prompt([first], ""), ids) if ids[:1] != [first] else (Prompt(ids[:1], ""), ids[1:])
    stripped = context.rstrip()
    ids = tokenize(tokenizer, stripped)
    whole = tokenize(tokenizer, context + continuation)
    return Prompt(ids, context), whole[len(ids) :]


def stop_ids(path: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: eos of the tokenizer, of config.json and of generation_config.json."""
    found = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        file = path / name
        value = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.exists() else None
        found.update(value if isinstance(value, list) else [value])
    return sorted(found - {None})


def special_stops(tokenizer: Any, stop: Sequence[str]) -> list[int]:
    """Stop strings that are special tokens, as ids, since the text of a reply does not contain special tokens."""
    special = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [special[text] for text in stop if text in special]


def context_length(path: Path) -> int | None:
    """The model's number of positions; None if config.json does not state it."""
    value = json.loads((path / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    return value if isinstance(value, int) else None


def reply_text(tokenizer: Any, ids: Sequence[int], stop: Sequence[str]) -> tuple[str, bool]:
    """The text of sampled tokens without special tokens, cut before the first stop string; whether there was one."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    ends = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]
    return (text[: min(ends)[1]], True) if ends else (text, False)


def too_long(n_prompt: int, limit: int | None) -> str:
    """Why a prompt is too long, or ""."""
    if limit is None or n_prompt < limit:
        return ""
    return f"prompt has {n_prompt} tokens, and the model reads at most {limit}, one of them sampled"


def cannot_score(prompt: Prompt, given: list[int], limit: int | None) -> str:
    """Why the log-probability of a given reply cannot be computed, or ""."""
    if not given:
        return "the continuation has no token of its own"
    if limit is not None and len(prompt.ids) + len(given) > limit + 1:  # the last token is only predicted, never read
        return (
            f"prompt and continuation have {len(prompt.ids) + len(given)} tokens, and the model reads at most {limit}"
        )
    return ""


def failed(request: Request, why: str, prompt: Prompt | None = None) -> Generation:
    """The generation for a request without a reply: finish "error"."""
    ids, text, digest = (prompt.ids, prompt.text, prompt.hash) if prompt else ([], "", "")
    return Generation(request.key, "", len(ids), 0, "error", digest, 0, why, text)


def scored(request: Request, prompt: Prompt, n_tokens: int, logprob: float, greedy: bool, wall_s: float) -> Generation:
    """The generation for a request to score a given reply."""
    text = request.continuation or ""
    return Generation(
        request.key,
        text,
        len(prompt.ids),
        n_tokens,
        "stop",
        prompt.hash,
        wall_s,
        prompt=prompt.text,
        logprob=logprob,
        is_greedy=greedy,
    )


@dataclass
class _Row:
    """One reply being generated."""

    request: Request
    prompt: Prompt
    max_tokens: int  # the request's, or fewer if the context ends earlier
    given: list[int] | None = None  # the reply, if only its log-probability is computed
    stop_ids: Sequence[int] = ()  # tokens that end this reply, in addition to those that end all
    n_tokens: int = 0
    finish: Finish | None = None  # None: not finished


@dataclass(frozen=True)
class TransformersConfig:
    """batch_size: prompts decoded together. dtype "auto": float32 on a CPU, bfloat16 on a GPU.

    trust_remote_code: run Python code that lies in a model folder, which can do whatever the user can.
    """

    batch_size: int = 64
    dtype: str = "auto"
    trust_remote_code: bool = False


class TransformersEngine:
    """Batches of prompts of similar length, left-padded; a batch is yielded when all of it is done."""

    name: ClassVar[str] = "transformers"
    Config: ClassVar[type] = TransformersConfig

    def __init__(self, config: TransformersConfig = TransformersConfig()) -> None:
        self.batch_size = config.batch_size
        self._dtype = config.dtype
        self._trusted = config.trust_remote_code
        self._model: Any = None
        self._tokenizer: Any = None
        self._stop_ids: list[int] = []
        self._context: int | None = None
        self._rows: Sequence[_Row] = ()  # of the batch that is being generated

    @classmethod
    def open(cls, config: TransformersConfig, notify: Callable[[str], None]) -> TransformersEngine:  # noqa: ARG003
        return cls(config)

    def __enter__(self) -> TransformersEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> EngineInfo:
        device = _device()
        settings = {"trust_remote_code": True} if self._trusted else {}
        return EngineInfo(self.name, version("transformers"), self._resolved_dtype(device), device, settings)

    def load(self, checkpoint: Checkpoint) -> None:
        self.close()
        device = _device()
        self._tokenizer = load_tokenizer(checkpoint.path, self._trusted)
        self._stop_ids = stop_ids(checkpoint.path, self._tokenizer)
        self._context = context_length(checkpoint.path)
        self._model = load_model(checkpoint.path, self._resolved_dtype(device), device, self._trusted)

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        if self._model is None:
            raise EngineError("engine 'transformers' has no checkpoint; call load(checkpoint) first")
        stream = checked(requests)
        while window := list(islice(stream, _WINDOW * self.batch_size)):
            yield from self._window(window)

    def _window(self, requests: list[Request]) -> Iterator[Generation]:
        rows = []
        for request in requests:
            row = self._row(request)
            if isinstance(row, Generation):
                yield row
            else:
                rows.append(row)
        for batch in self._batches([row for row in rows if row.given is None]):
            yield from self._batch(batch)
        given = sorted((r for r in rows if r.given is not None), key=lambda r: len(r.prompt.ids + (r.given or [])))
        for start in range(0, len(given), self.batch_size):
            yield from self._likelihoods(given[start : start + self.batch_size])

    def running(self) -> list[int]:
        return [row.n_tokens for row in self._rows if row.finish is None]

    def sleep(self) -> None:
        self.close()

    def close(self) -> None:
        if self._model is not None:
            import torch

            self._model = None
            torch.cuda.empty_cache()  # torch keeps what was the model's for itself; does nothing without a GPU

    def _resolved_dtype(self, device: str) -> str:
        return self._dtype if self._dtype != "auto" else "float32" if device == "cpu" else "bfloat16"

    def _row(self, request: Request) -> _Row | Generation:
        from jinja2 import TemplateError

        if request.continuation is not None:
            context = "".join(m.content for m in request.messages)
            prompt, given = render_pair(self._tokenizer, context, request.continuation)
            if why := cannot_score(prompt, given, self._context):
                return failed(request, why, prompt)
            return _Row(request, prompt, 0, given)
        try:
            prompt = render(self._tokenizer, request.messages)
        except (TemplateError, ValueError) as cause:
            return failed(request, f"chat template: {cause}")
        if why := too_long(len(prompt.ids), self._context):
            return failed(request, why, prompt)
        left = request.params.max_tokens if self._context is None else self._context - len(prompt.ids)
        stops = special_stops(self._tokenizer, request.params.stop)
        return _Row(request, prompt, min(request.params.max_tokens, left), stop_ids=stops)

    def _batches(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Batches of similar prompt length, in which no row exceeds the context because another one takes longer."""
        batch: list[_Row] = []
        for row in sorted(rows, key=lambda row: len(row.prompt.ids)):
            longest = len(row.prompt.ids) + max(r.max_tokens for r in [*batch, row])
            if len(batch) == self.batch_size or (batch and self._context is not None and longest > self._context):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _batch(self, rows: list[_Row]) -> Iterator[Generation]:
        """Replies of one padded batch. Each row samples and stops independently of the others."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        began, self._rows = time.monotonic(), rows
        width = max(len(row.prompt.ids) for row in rows)
        pad = self._stop_ids[0] if self._stop_ids else 0  # masked, and cut off by n_tokens: any token will do
        padding = [width - len(row.prompt.ids) for row in rows]
        ids = [[pad] * n + row.prompt.ids for n, row in zip(padding, rows, strict=True)]
        mask = [[0] * n + [1] * (width - n) for n in padding]
        with torch.inference_mode():
            output = self._model.generate(
                torch.tensor(ids, device=self._model.device),
                attention_mask=torch.tensor(mask, device=self._model.device),
                generation_config=GenerationConfig(
                    max_new_tokens=max(row.max_tokens for row in rows), do_sample=False, pad_token_id=pad
                ),
                logits_processor=LogitsProcessorList([_Choose([row.request.params for row in rows])]),
                stopping_criteria=StoppingCriteriaList([self._stopper(rows, width)]),
            )
        wall_s, self._rows = time.monotonic() - began, ()
        for row, tokens in zip(rows, output[:, width:].tolist(), strict=True):
            text, _ = self._text(row, tokens[: row.n_tokens])
            n_prompt = len(row.prompt.ids)
            finish = row.finish or "length"
            yield Generation(
                row.request.key, text, n_prompt, row.n_tokens, finish, row.prompt.hash, wall_s, prompt=row.prompt.text
            )

    def _likelihoods(self, rows: Sequence[_Row]) -> Iterator[Generation]:
        """One forward pass over a right-padded batch: the log-probability of each row's own continuation."""
        import torch

        began = time.monotonic()
        ids = [(row.prompt.ids + (row.given or []))[:-1] for row in rows]
        width = max(map(len, ids))
        padded = torch.tensor([i + [0] * (width - len(i)) for i in ids], device=self._model.device)
        with torch.inference_mode():
            logits = self._model(padded).logits
        for row, read, scores in zip(rows, ids, logits, strict=True):
            given = torch.tensor(row.given, device=scores.device)
            rows_of = scores[len(read) - len(given) : len(read)].float().log_softmax(-1)  # (T, V)
            logprob = float(rows_of.gather(1, given.unsqueeze(1)).sum())
            greedy = bool((rows_of.argmax(-1) == given).all())
            yield scored(row.request, row.prompt, len(given), logprob, greedy, time.monotonic() - began)

    def _stopper(self, rows: list[_Row], width: int) -> Callable[..., Any]:
        """A stopping criterion that marks the finished rows after every token."""
        import torch

        def done(input_ids: torch.Tensor, _scores: torch.Tensor, **_: object) -> torch.Tensor:
            for row, tokens in zip(rows, input_ids[:, width:].tolist(), strict=True):
                if row.finish is None:
                    row.n_tokens = len(tokens)
                    ended = tokens[-1] in self._stop_ids or tokens[-1] in row.stop_ids
                    if ended or (row.request.params.stop and self._text(row, tokens)[1]):
                        row.finish = "stop"
                    elif row.n_tokens >= row.max_tokens:
                        row.finish = "length"
            return torch.tensor([row.finish is not None for row in rows], device=input_ids.device)

        return done

    def _text(self, row: _Row, tokens: list[int]) -> tuple[str, bool]:
        ended = bool(tokens) and (tokens[-1] in self._stop_ids or tokens[-1] in row.stop_ids)
        return reply_text(self._tokenizer, tokens[:-1] if ended else tokens, row.request.params.stop)


class _Choose:
    """Returns logits whose argmax is each row's token: greedy, or sampled with the row's own seed.

    argmax(log p + Gumbel noise) is an exact draw from p (Gumbel-max trick, arXiv:1611.01144 section 2), so one greedy
    `generate` serves rows of different temperature and seed. logits: (B, V).
    """

    def __init__(self, params: list[SamplingParams]) -> None:
        import torch

        self._rows = [
            (row, p, torch.Generator().manual_seed(p.seed or 0)) for row, p in enumerate(params) if p.temperature > 0
        ]

    def __call__(self, _input_ids: Any, logits: Any) -> Any:
        import torch

        chosen = logits.float().clone()
        for row, params, noise in self._rows:
            scaled = chosen[row] / params.temperature
            if params.top_k:
                scaled[scaled < scaled.topk(min(params.top_k, len(scaled))).values[-1]] = -torch.inf
            if params.top_p < 1:
                ranked, order = scaled.softmax(-1).sort(descending=True)
                scaled[order[ranked.cumsum(-1) - ranked >= params.top_p]] = -torch.inf
            uniform = torch.rand(scaled.shape, generator=noise, dtype=torch.float64).clamp_min(1e-300)
            chosen[row] = scaled - (-uniform.log()).log().float().to(scaled.device)
        return chosen


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
