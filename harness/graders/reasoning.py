"""Removes the reasoning part of a reply."""

from __future__ import annotations

_END = "</think>"  # Qwen3, DeepSeek-R1 and similar models; the opening tag may be part of the prompt


def after_thoughts(text: str) -> str:
    """The reply after its last `</think>`; all of it if there is none, or nothing follows."""
    answer = text[text.rfind(_END) + len(_END) :] if _END in text else text
    return answer if answer.strip() else text
