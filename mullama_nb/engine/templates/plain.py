"""The chat template for models that were not made for chat: messages as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BUILT_IN"]

# An answer goes on where the text before it ends; whatever else is said begins a new line. Chats
# are saved with the name alone, so a template never changes: another one gets another name.
_PLAIN = (
    "{%- for message in messages -%}"
    "{%- if not loop.first and message['role'] != 'assistant' -%}{{ '\\n' }}{%- endif -%}"
    "{{- message['content'] -}}"
    "{%- endfor -%}"
)

BUILT_IN: Mapping[str, str] = MappingProxyType({"plain": _PLAIN})
"""Templates that go with any model, by name; one of that name in a model's file comes first."""
