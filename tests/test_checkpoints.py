"""Reading model folders: what is refused and why, what the digests see, what a token costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checkpoints import architecture, matmul_params, open_checkpoint, template_warning
from harness.errors import BadCheckpoint
from harness.testing.models import make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made") / "model", seed=0)


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def point_to_lfs(path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 399456\n"
    (path / "model.safetensors").write_text(pointer)


def lose_a_shard(path: Path) -> None:
    (path / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def leave_a_stale_file(path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(path).save_pretrained(path / "shards", max_shard_size="100KB")
    for file in (path / "shards").glob("model*"):
        file.rename(path / file.name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "not a folder"),
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda path: (path / "config.json").write_text("[]"), "expected a JSON object, got list"),
        (lambda path: (path / "model.safetensors").unlink(), "no weights; expected model.safetensors"),
        (lambda path: (path / "model.safetensors").write_bytes(b""), r"not a complete safetensors file \(0 bytes\)"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{!"), "bad safetensors header"),
        (truncate, r"its header lists \d+; the file is truncated"),
        (point_to_lfs, "Git LFS pointer, not the weights; run `git lfs pull`"),
        (lose_a_shard, "shard model-00001-of-00002.safetensors is missing"),
        (leave_a_stale_file, "model.safetensors lies beside the shards of .* remove the ones that are out of date"),
        (lambda path: (path / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda path: (path / "chat_template.jinja").unlink(), "no chat template"),
    ],
)
def test_a_folder_that_is_no_full_model_is_refused_with_the_reason(
    model: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(model)
    with pytest.raises(BadCheckpoint, match=message) as refusal:
        open_checkpoint(model)
    assert str(model) in str(refusal.value)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_tensor_that_holds_nan_or_an_infinity_is_named(model: Path, dtype: str, value: float) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}
    tensors["model.norm.weight"][1] = torch.finfo(getattr(torch, dtype)).max  # large, and sound
    save_file(tensors, file, metadata={"format": "pt"})
    open_checkpoint(model)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' holds 1 values that are NaN"):
        open_checkpoint(model)


def test_of_several_named_templates_the_default_one_counts(model: Path) -> None:
    before = open_checkpoint(model).tokenizer_digest
    template = model / "chat_template.jinja"
    named = [{"name": "tool_use", "template": "{{ tools }}"}, {"name": "default", "template": template.read_text()}]
    template.unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}))
    assert open_checkpoint(model).tokenizer_digest == before
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named[:1]}))
    with pytest.raises(BadCheckpoint, match="no chat template"):
        open_checkpoint(model)


CHATML = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
PROMPTED = CHATML + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
INST = (
    "{% for m in messages %}"
    "{{ '[INST]' + m.content + '[/INST]' if m.role == 'user' else m.content + '</s>' }}"
    "{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "header"),
    [(PROMPTED, None), (INST, None), (CHATML, "<|assistant|>"), ("{{ raise_exception('no') }}", None), ("{% if", None)],
)
def test_a_template_that_leaves_the_reply_unopened_is_a_warning(model: Path, template: str, header: str | None) -> None:
    (model / "chat_template.jinja").write_text(template)
    warning = template_warning(model)
    assert (f"prompts do not end in {header!r}, which opens a reply" in warning) if header else warning == ""


def test_the_weights_digest_ignores_file_layout_and_metadata(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    whole = open_checkpoint(model)
    sharded = tmp_path / "sharded"
    shutil.copytree(model, sharded)
    (sharded / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert open_checkpoint(sharded).digest == whole.digest
    file = model / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt", "note": "saved again"})
    assert open_checkpoint(model).digest == whole.digest


def test_the_weights_digest_sees_one_bit_one_name_and_one_dtype(model: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    tensors = load_file(file)
    renamed = {name.replace("norm", "Norm"): tensor for name, tensor in tensors.items()}
    halved = {**tensors, "model.norm.weight": tensors["model.norm.weight"].to(torch.bfloat16)}
    digests = {open_checkpoint(model).digest}
    for changed in (renamed, halved):
        save_file(changed, file, metadata={"format": "pt"})
        digests.add(open_checkpoint(model).digest)
    save_file(tensors, file, metadata={"format": "pt"})
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    digests.add(open_checkpoint(model).digest)
    assert len(digests) == 4


def test_the_tokenizer_digest_survives_saving_and_sees_vocabulary_and_template(model: Path) -> None:
    from transformers import AutoTokenizer

    before = open_checkpoint(model).tokenizer_digest
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)  # switches both on inside tokenizer.json
    tokenizer.save_pretrained(model)
    assert json.loads((model / "tokenizer.json").read_text())["padding"] is not None
    assert open_checkpoint(model).tokenizer_digest == before

    template = model / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text + " ")
    assert open_checkpoint(model).tokenizer_digest != before
    template.unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": text}))
    assert open_checkpoint(model).tokenizer_digest == before

    rules = json.loads((model / "tokenizer.json").read_text())
    rules["model"]["vocab"]["!"], rules["model"]["vocab"]['"'] = 1, 0
    (model / "tokenizer.json").write_text(json.dumps(rules))
    assert open_checkpoint(model).tokenizer_digest != before


@pytest.mark.parametrize("tied", [True, False])
def test_matmul_params_are_the_weights_of_all_linear_layers_and_the_head(
    made: Path, tmp_path: Path, tied: bool
) -> None:
    from torch.nn import Linear
    from transformers import AutoConfig, Qwen2ForCausalLM

    config = AutoConfig.from_pretrained(made)
    config.tie_word_embeddings = tied
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(tmp_path)
    expected = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear))
    assert matmul_params(tmp_path) == expected == 98496


def test_architecture_leaves_out_what_training_changes_and_keeps_shapes(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    before = architecture(model)
    (model / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16", "use_cache": False}))
    assert architecture(model) == before
    wider = make_model(tmp_path / "wider", seed=0, hidden=128, heads=4)
    assert architecture(wider) != before
