"""How examples are drawn for what is made of bytes."""

from __future__ import annotations

from hypothesis import settings

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
