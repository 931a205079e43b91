"""Removes the reasoning part of a reply: the one place that knows how models mark it."""

from __future__ import annotations

import re

_NAME = r"(?:\w{1,12}[:_])?(?:thinking|think|thoughts?|reasoning|reflection|scratchpad|analysis)"
_MARK = re.compile(  # begins with a set of characters, since `re` passes over all others fast
    rf"""[<\[◁a](?i:
    (?P<end>(?<=<)(?:/{_NAME}> | \|(?:/|end_(?:of_)?){_NAME}\|> | \|begin_of_solution\|> | \|start_response\|>
            | \|inner_suffix\|> | unused95> | channel\|> | \|channel\|>\s?final\b[^\n]{{0,60}}?<\|message\|>)
        | (?<=◁)/{_NAME}▷ | (?<=\[)(?:(?-i:/THINK)|BEGIN\ FINAL\ RESPONSE)\]
        | (?<=a)ssistantfinal)  # harmony without its special tokens
    | (?P<start>(?<=<)(?:{_NAME}> | \|(?:(?:begin|start)_(?:of_)?)?{_NAME}\|> | \|inner_prefix\|> | unused94>
            | \|channel>thought | \|channel\|>\s?(?:analysis|commentary)\b[^\n]{{0,60}}?<\|message\|>)
        | (?<=◁){_NAME}▷ | (?<=\[)(?-i:THINK)\]))""",
    re.VERBOSE,
)


def after_thoughts(text: str) -> str:
    """The reply behind its last thoughts, or else in front of them; "" if it has nothing but thoughts that end."""
    return split_thoughts(text)[0]


def split_thoughts(text: str) -> tuple[str, bool]:
    """The reply without thoughts, and whether it is nothing but thoughts that never end, which then are the reply.

    The mark at the start of thoughts may be part of the prompt.
    """
    begin, thoughts, before = 0, -1, ""  # where the reply goes on, where thoughts began, what stands in front of them
    inside = 0  # behind the mark at which they began
    for mark in _MARK.finditer(text):
        if mark["start"]:
            thoughts, inside = (mark.start(), mark.end()) if thoughts < 0 else (thoughts, inside)
        else:
            before = text[begin:thoughts] if thoughts > begin and text[begin:thoughts].strip() else before
            begin, thoughts = mark.end(), -1
    if thoughts >= 0 and text[begin:thoughts].rpartition("\n")[2].strip():
        thoughts = -1  # in the middle of a line and without an end: a mark that is talked about
    answer = text[begin:thoughts] if thoughts >= 0 else text[begin:]
    if answer.strip() or before.strip():
        return answer if answer.strip() else before, False
    return (text[inside:], True) if thoughts >= 0 else ("", False)
