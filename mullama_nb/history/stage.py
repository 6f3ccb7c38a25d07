"""What an operation does, stage by stage, told to whoever steps through it."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Stage", "StageName", "Stages"]

StageName: TypeAlias = Literal["tokenize", "prefix", "evaluate", "decode", "capture"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of what ``ask`` does, after it was done.

    Attributes
    ----------
    name : str
        ``"tokenize"``: the chat template wrote the conversation, in so many tokens. ``"prefix"``:
        so many of them are in the context already. ``"evaluate"``: so many others were decoded in
        batches, which fills as many cells. ``"decode"``: a token was drawn, and is decoded.
        ``"capture"``: the rows of so many tokens were copied out of the context, as a checkpoint.
    n_tokens : int
    detail : mapping
        What else there is to say: ``dropped`` and ``missing`` tokens of the prefix; the
        ``position`` that is evaluated; ``token``, ``text``, ``probability`` and ``position`` of a
        drawn token; ``checkpoint`` and ``bytes`` of what is captured.
    seconds : float
        What it took; not compared.
    """

    name: StageName
    n_tokens: int
    detail: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)

    @property
    def in_words(self) -> str:
        """What was done."""
        n, detail = self.n_tokens, self.detail
        tokens = f"{n:,} token{'s' * (n != 1)}"
        match self.name:
            case "tokenize":
                return f"the conversation is {tokens}"
            case "prefix":
                dropped = f", {detail['dropped']:,} dropped" if detail["dropped"] else ""
                return f"{tokens} kept{dropped}, {detail['missing']:,} to evaluate"
            case "evaluate":
                return f"{tokens} evaluated from position {detail['position']:,} on"
            case "decode":
                return f"{detail['text']!r} drawn, with probability {detail['probability']:.2f}"
            case "capture":
                return f"{tokens} captured in {detail['bytes']:,} bytes"

    def __repr__(self) -> str:
        return f"Stage({self.name}: {self.in_words})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


class Stages:
    """Tells threads of the stages of what they do themselves."""

    def __init__(self) -> None:
        self._listeners: dict[int, Callable[[Stage], object]] = {}

    @property
    def are_told(self) -> bool:
        """Whether the calling thread is told."""
        return bool(self._listeners) and threading.get_ident() in self._listeners

    @contextmanager
    def told_to(self, listener: Callable[[Stage], object]) -> Iterator[None]:
        """Call a function at each stage of what the calling thread does in the block."""
        me = threading.get_ident()
        self._listeners[me] = listener
        try:
            yield
        finally:
            del self._listeners[me]

    def tell(self, name: StageName, n_tokens: int, began: float, **detail: Any) -> None:
        """Tell of a stage that ends now and began at a time of ``time.perf_counter``."""
        if self.are_told:
            seconds = time.perf_counter() - began
            self._listeners[threading.get_ident()](Stage(name, n_tokens, detail, seconds))
