"""Finding the adapters again that a saved chat was made with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ..engine.adapters.values import Adapter, ControlVector, LoRA
from ..engine.context import Context
from ..errors import AdapterError
from .notes import ADAPTERS

__all__ = ["at_hand_alone", "offer_saved", "saved_on"]


def offer_saved(context: Context, body: Mapping[str, Any]) -> None:
    """Look for adapters where they were when a chat was saved; others are not accepted.

    Parameters
    ----------
    context : Context
    body : mapping
        What was saved of the chat; see ``settings_of``.
    """
    there = {adapter.fingerprint for adapter in context.known_adapters.at_hand}
    for fingerprint, path in body.get(ADAPTERS, {}).get("files", {}).items():
        if fingerprint in there:
            continue
        for kind in (LoRA, ControlVector):
            # It may have gone, be another one, or be for the model that this one stands in for.
            with contextlib.suppress(AdapterError):
                found: Adapter = kind(path)
                if found.fingerprint == fingerprint:
                    context.known_adapters.offer([found])


def saved_on(context: Context, body: Mapping[str, Any]) -> tuple[Adapter, ...]:
    """Return the adapters that were on when a chat was saved, as far as they are at hand."""
    notes = at_hand_alone(context, {ADAPTERS: body.get(ADAPTERS, {}).get("on", [])})
    return context.known_adapters.of(notes.get(ADAPTERS, []))


def at_hand_alone(context: Context, notes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a checkpoint's notes without the adapters that are not at hand."""
    adapters = notes.get(ADAPTERS)
    if not adapters:
        return notes
    found = [each for each in adapters if not context.known_adapters.missing([each])]
    return {**notes, ADAPTERS: found}
