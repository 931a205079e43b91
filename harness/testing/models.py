"""Tiny Qwen2 checkpoints with random weights, a byte-level tokenizer and a chat template."""

from __future__ import annotations

from pathlib import Path

from harness.engines.transformers import leave_out_scikit_learn

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_model(path: Path, seed: int, hidden: int = 64, layers: int = 2, heads: int = 2) -> Path:
    """Write a float32 Qwen2 with random weights drawn under `seed` into `path`, which comes back.

    259 tokens (256 bytes, pad, turn start, turn end = eos), tied output head, 1024 positions; it says mostly ASCII.
    hidden / heads must be 32 or a larger multiple of it, the head sizes vLLM serves on a CPU.
    """
    import torch

    leave_out_scikit_learn()
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    vocabulary = {char: i for i, char in enumerate([*sorted(ByteLevel.alphabet()), PAD, START, END])}
    # The class AutoTokenizer picks for this model type: any other is rewritten by the first trainer that saves it.
    tokenizer = Qwen2Tokenizer(
        vocabulary,
        merges=[],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    readable = torch.tensor([char.isascii() for char in vocabulary])  # else most replies are invalid UTF-8
    model.model.embed_tokens.weight.data[~readable] *= 0.1
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
