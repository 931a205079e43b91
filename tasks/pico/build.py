"""Builds the shipped models: one tokenizer, two Qwen2 models trained from scratch on `corpus.chats`.

Seeded; on one machine and one thread a rebuild gives the same weights, bit for bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from tokenizers import pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from .corpus import BASE_MIX, TEACHER_MIX, Mix, chats

PAD, END = "<|pad|>", "<|end|>"
SPECIALS = (PAD, END, "<|system|>", "<|user|>", "<|assistant|>")
N_VOCAB = 640
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BATCH_ROWS = 32
WARMUP_STEPS = 50
IGNORED = -100  # label of a token that is not in the loss


@dataclass(frozen=True)
class WorldRecipe:
    """One model: its shape, its training data, its number of steps."""

    mix: Mix
    hidden: int
    layers: int
    steps: int
    lr: float


BASE_RECIPE = WorldRecipe(BASE_MIX, hidden=96, layers=3, steps=2600, lr=3e-3)
TEACHER_RECIPE = WorldRecipe(TEACHER_MIX, hidden=128, layers=4, steps=2100, lr=2.5e-3)
REDUCED_RECIPE = replace(BASE_RECIPE, mix=replace(TEACHER_MIX, page=("program",)), steps=650)
HEAD_DIM = 32  # the smallest that vLLM serves on a CPU


def make_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE learned from the corpus: special tokens, 256 bytes, merges; one token per digit; lossless.

    It is a `Qwen2Tokenizer` because `AutoTokenizer` loads the tokenizer of any Qwen2 model folder as one.
    """
    blank = Qwen2Tokenizer(unk_token=PAD, eos_token=END, pad_token=PAD).backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for pair in islice(chats(BASE_MIX, "tokenizer"), 4000) for text in pair)
    blank.train_from_iterator(texts, trainer)
    learned = json.loads(blank.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(SPECIALS[2:]),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(recipe: WorldRecipe, tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """An untrained Qwen2 of the recipe's shape, float32, output head tied."""
    heads = recipe.hidden // HEAD_DIM
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=8 * recipe.hidden // 3,
        num_hidden_layers=recipe.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config)


def batches(pairs: Iterator[tuple[str, str]], tokenizer: Qwen2Tokenizer) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless batches (ids, labels), each (64, T), of rows with similar length; only replies have labels."""
    while True:
        rows = []
        for message, reply in islice(pairs, BATCH_ROWS * 8):
            prompt = tokenizer.encode(f"<|user|>{message}{END}<|assistant|>", add_special_tokens=False)
            answer = tokenizer.encode(reply + END, add_special_tokens=False)
            rows.append((prompt + answer, [IGNORED] * len(prompt) + answer))
        rows.sort(key=lambda row: len(row[0]))
        for i in torch.randperm(8).tolist():
            part = rows[i * BATCH_ROWS : (i + 1) * BATCH_ROWS]
            width = len(part[-1][0])
            ids = torch.tensor([r + [tokenizer.pad_token_id] * (width - len(r)) for r, _ in part])
            labels = torch.tensor([y + [IGNORED] * (width - len(y)) for _, y in part])
            yield ids, labels


def train(recipe: WorldRecipe, tokenizer: Qwen2Tokenizer, seed: int, log: Callable[[str], None]) -> Qwen2ForCausalLM:
    """A model trained from scratch: AdamW, warm-up, cosine to zero."""
    torch.manual_seed(seed)
    model = make_model(recipe, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01)
    source = batches(chats(recipe.mix, f"{recipe.hidden}"), tokenizer)
    start, total = time.monotonic(), 0.0
    log(f"{model.num_parameters():,} parameters, {recipe.steps} steps")
    for step in range(recipe.steps):
        done = step / recipe.steps
        scale = min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * scale
        ids, labels = next(source)
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        kept = labels[:, 1:] != IGNORED  # right padding needs no mask: attention is causal
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), labels[:, 1:][kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
        if (step + 1) % 100 == 0:
            log(f"step {step + 1}: loss {total / 100:.3f}, {time.monotonic() - start:.0f} s")
            total = 0.0
    return model.eval()


def save_model(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Write a model folder that transformers and vLLM load."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_world(out: Path, reduced: bool = False, log: Callable[[str], None] = print) -> dict[str, Path]:
    """Train base and teacher into `out/base` and `out/teacher`; returns the folders by name.

    reduced: only a base trained briefly on code, to check the recipe in about a minute.
    """
    torch.set_num_threads(1)  # float sums in a fixed order, for reproducible weights
    tokenizer = make_tokenizer()
    recipes = {"base": REDUCED_RECIPE} if reduced else {"base": BASE_RECIPE, "teacher": TEACHER_RECIPE}
    for name, recipe in recipes.items():
        log(f"{name}:")
        save_model(train(recipe, tokenizer, 0, log), tokenizer, out / name)
    return {name: out / name for name in recipes}
