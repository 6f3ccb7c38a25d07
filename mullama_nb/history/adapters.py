"""The adapters of a tree: what each checkpoint was made with, and what is on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engine.adapters.loaded import text_of
from ..engine.adapters.values import Adapter
from ..engine.context import Context
from .node import Node
from .notes import ADAPTERS

__all__ = ["TreeAdapters"]


class TreeAdapters:
    """Switches a tree's context to what its checkpoints were made with.

    Parameters
    ----------
    context : Context
    root : Node
    changed : bound method
        Called when others are on; its owner is not kept alive.

    Attributes
    ----------
    used : dict
        Notes of all that rows of the tree were ever made with, by what the rows depend on.
    are_chosen : bool
        Whether what is on was set since the last commit or checkout.
    """

    def __init__(self, context: Context, root: Node, changed: Callable[[], object]) -> None:
        self._context = context
        self._root = root
        self._changed = weakref.WeakMethod(changed)
        self.used: dict[str, Mapping[str, Any]] = {}
        self.are_chosen = False
        self._note_at_root()

    @property
    def on(self) -> tuple[Adapter, ...]:
        """What the next token is evaluated with."""
        return self._context.adapters

    def choose(self, values: Sequence[Adapter], head: Node) -> None:
        """Set what follows the head is evaluated with."""
        self.switch(values)
        self.are_chosen = True
        if head.is_root:
            self._note_at_root()

    def switch(self, values: Sequence[Adapter]) -> None:
        """Have others on."""
        before = self._context.adapters
        if before == values:  # as at most moves, which take microseconds
            return
        self._context.adapters = values
        changed = self._changed()
        if before != self._context.adapters and changed is not None:
            changed()

    def _note_at_root(self) -> None:
        """It has no rows that could tell of them."""
        notes = self._root.metadata
        on = [value.note() for value in self.on]
        if on:
            notes[ADAPTERS] = on
        else:
            notes.pop(ADAPTERS, None)

    # -- of nodes ----------------------------------------------------------------------------

    def of(self, node: Node) -> tuple[Adapter, ...]:
        """Return what the last token up to a node was evaluated with.

        Raises
        ------
        AdapterError
            When one is not at hand.
        """
        made_with = _made_with(node)
        return self._context.known_adapters.of(made_with) if made_with else ()

    def instead_of(self, node: Node) -> tuple[Adapter, ...]:
        """Return what something in a node's place is evaluated with.

        That is what was chosen since the last message, or else what the node was made with.
        """
        return self.on if self.are_chosen else self.of(node)

    def are_those_of(self, node: Node) -> bool:
        """Return whether evaluating a node's tokens now would use the same ones."""
        return text_of(_made_with(node)) == text_of([value.note() for value in self.on])

    def remember(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Take into account that rows of the tree were made with some."""
        for note in notes:
            self.used.setdefault(text_of([note]), note)

    def noted(self, notes: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Return notes of tokens with what they were evaluated with.

        Parameters
        ----------
        notes : mapping
        text : str
            As a segment says it.
        """
        rest = {key: value for key, value in notes.items() if key != ADAPTERS}
        if not text:
            return rest
        adapters = self._context.known_adapters.notes(text)
        self.remember(adapters)
        return rest | {ADAPTERS: adapters}


def _made_with(node: Node) -> Sequence[Mapping[str, Any]]:
    """The adapters that the last token up to a node was evaluated with, as notes."""
    nodes = node.lineage()
    made = next((each for each in nodes if each.tokens or ADAPTERS in each.metadata), node)
    return made.metadata.adapters
