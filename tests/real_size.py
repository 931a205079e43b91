"""A random checkpoint of exactly the size of Qwen2.5-0.5B."""

from __future__ import annotations

from pathlib import Path

from harness.testing.models import CHAT_TEMPLATE, END, START


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
