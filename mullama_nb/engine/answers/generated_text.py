"""The text of generated tokens, which knows which parts of it are control tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex, TypeAlias

__all__ = ["GeneratedText", "Runs"]

Runs: TypeAlias = tuple[tuple[str, bool], ...]


class GeneratedText(str):
    """A text that tells its control tokens from characters that look like them.

    A chat template gets it as any other text. In the tokens of the rendered prompt its control
    tokens are control tokens again, and what only looks like one stays text.

    Parameters
    ----------
    runs : iterable of (str, bool)
        Parts of the text, and whether each is a control token.

    Attributes
    ----------
    runs : tuple of (str, bool)
        The same, without empty parts and with plain neighbours joined.
    """

    runs: Runs

    def __new__(cls, runs: Iterable[tuple[str, bool]]) -> GeneratedText:
        """Join parts to a text."""
        parts: list[tuple[str, bool]] = []
        for text, is_control in runs:
            if text and parts and not is_control and not parts[-1][1]:
                parts[-1] = parts[-1][0] + text, False
            elif text:
                parts.append((text, is_control))
        made = super().__new__(cls, "".join(text for text, _ in parts))
        made.runs = tuple(parts)
        return made

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        """Return a part of the text; a slice without a step is a ``GeneratedText`` again."""
        if not isinstance(key, slice) or key.step not in (None, 1):
            return super().__getitem__(key)
        start, stop, _ = key.indices(len(self))
        parts, at = [], 0
        for text, is_control in self.runs:
            parts.append((text[max(0, start - at) : max(0, stop - at)], is_control))
            at += len(text)
        return GeneratedText(parts)

    @classmethod
    def behind(cls, given: str, generated: str) -> GeneratedText:
        """Return a text that was given, with a generated one behind it."""
        runs = generated.runs if isinstance(generated, GeneratedText) else ((generated, False),)
        return cls([(given, False), *runs])

    def __getnewargs__(self) -> tuple[Runs]:  # type: ignore[override]
        """Let it be copied and pickled."""
        return (self.runs,)
