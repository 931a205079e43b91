"""Makes a full model folder: `python -m harness.engines.convert_model '{"model": ...}' OUT`, run by `model_folder`.

In a process of its own, which gives the memory of torch and of the model back. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path


def convert(model: Path, adapter: Path | None, tokenizer: Path, weights: bool, out: Path) -> None:
    """Write `out`. adapter: a LoRA adapter that is merged into the model. weights: whether they are written anew."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if weights:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto", local_files_only=True)
        if adapter is not None:
            from peft import PeftModel

            loaded = PeftModel.from_pretrained(loaded, adapter, local_files_only=True).merge_and_unload(safe_merge=True)
        loaded.save_pretrained(out)
    else:
        for file in model.resolve().iterdir():
            if file.is_file() and not file.name.startswith(("tokenizer", "special_tokens", "chat_template")):
                (out / file.name).symlink_to(file)
    AutoTokenizer.from_pretrained(tokenizer, local_files_only=True).save_pretrained(out)


def main() -> None:
    """Convert into a folder beside the target, then rename it, so that the target is whole or absent."""
    asked, target = json.loads(sys.argv[1]), Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        adapter = Path(asked["adapter"]) if asked["adapter"] else None
        convert(Path(asked["model"]), adapter, Path(asked["tokenizer"]), asked["weights"], out)
        out.rename(target)
    except OSError:
        if not target.exists():  # or another process made it meanwhile
            raise
    finally:
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
