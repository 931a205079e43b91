"""Random Qwen2 checkpoints, byte-level tokenizer, chat template: tiny ones, and one of the size of Qwen2.5-0.5B."""

from __future__ import annotations

from pathlib import Path

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


def make_qwen(path: Path, seed: int) -> Path:
    """Write a model of exactly the configuration of Qwen2.5-0.5B, in bfloat16, with random weights into `path`.

    494,032,768 weights. Of the 151,936 rows of its output the last 271 belong to no token, as in the real one. Source
    of all numbers: config.json and tokenizer_config.json of Qwen/Qwen2.5-0.5B-Instruct on the Hugging Face hub.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    letters = sorted(ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate([*letters, *(f"w{i}" for i in range(len(letters), 151643))])}
    tokenizer = Qwen2Tokenizer(
        vocabulary,
        merges=[],
        unk_token=None,
        pad_token="<|endoftext|>",
        eos_token=END,
        extra_special_tokens=["<|endoftext|>", START, END, *(f"<|special_{i}|>" for i in range(19))],
        chat_template=CHAT_TEMPLATE,
        model_max_length=131072,
    )
    config = Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        max_window_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        dtype="bfloat16",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
