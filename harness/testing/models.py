"""Qwen2 checkpoints with random weights, a byte-level tokenizer and a chat template: tiny ones, and of real sizes."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model. vocabulary: rows of the output, of which the last `unused` belong to no token."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    unused: int = 0
    positions: int = 32768


# Source: config.json of HuggingFaceTB/SmolLM2-135M-Instruct (a Llama, which has no biases), Qwen/Qwen2.5-0.5B-Instruct
# and Qwen/Qwen2.5-1.5B-Instruct on the Hugging Face hub; for the unused rows tokenizer_config.json of the two
SMOLLM2_135M = Sizes(576, 1536, 30, 9, 3, 49152, positions=8192)
QWEN2_05B = Sizes(896, 4864, 24, 14, 2, 151936, unused=271)
QWEN2_15B = Sizes(1536, 8960, 28, 12, 2, 151936, unused=271)
_NEEDED = 256 + 3  # bytes; padding, start and end of a turn


def make_shaped(path: Path, seed: int, sizes: Sizes, device: str = "cpu") -> Path:
    """Write a Qwen2 of those sizes, in bfloat16, with random weights drawn on `device` into `path`, which comes back.

    A byte is a token; all other tokens are made up, and no text gives them.
    """
    import torch

    leave_out_scikit_learn()
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    made_up = (f"w{i}" for i in range(sizes.vocabulary - sizes.unused - _NEEDED))
    words = [*sorted(ByteLevel.alphabet()), *made_up]
    tokenizer = Qwen2Tokenizer(
        {word: i for i, word in enumerate(words)},
        merges=[],
        unk_token=None,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[PAD, START, END],
        chat_template=CHAT_TEMPLATE,
        model_max_length=sizes.positions,
    )
    config = Qwen2Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.inner,
        num_hidden_layers=sizes.layers,
        max_window_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=sizes.positions,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="bfloat16",
    )
    devices = [device] if device != "cpu" else []
    with torch.random.fork_rng(devices=devices), torch.device(device):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
