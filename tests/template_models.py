"""Tiny models for chat templates: with the tokens that a template writes."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
from tiny_models import make_model

__all__ = ["N_CTX", "added_tokens", "make_template_model"]

N_CTX = 8192
N_VOCAB = 2048

# What families write as control tokens, and what they write as tokens that are text.
_CONTROL = re.compile(
    r"<\|[^|<>\s'\"{}]{1,40}\|>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|\[/?[A-Z]{2}[A-Z_]*\]|\[gMASK\]|<sop>"
    r"|</?(?:start|end)_of_(?:turn|image)>|<SPECIAL_\d+>|\]~!?b\[?\]?|\[e~\[|<s>|</s>"
)
_TEXT = re.compile(r"</?(?:[a-z]+:)?(?:think|tool_call|tool_response)>")


def added_tokens(source: str) -> dict[str, gguf.TokenType]:
    """Return the tokens that a template writes, with their types in models of its family."""
    control = dict.fromkeys(_CONTROL.findall(source), gguf.TokenType.CONTROL)
    return dict.fromkeys(_TEXT.findall(source), gguf.TokenType.USER_DEFINED) | {
        text: kind for text, kind in control.items() if len(text) > 2
    }


def make_template_model(path: Path, source: str) -> Path:
    """Write a tiny model with a chat template and the tokens that it writes."""
    return make_model(
        path,
        "llama",
        n_ctx=N_CTX,
        n_layer=1,
        n_vocab=N_VOCAB,
        chat_template=source,
        added=added_tokens(source),
    )
