"""Signatures that Sphinx can read: a default that is no expression is shown as dots.

Its text, such as ``<up to 4,096>``, would end the reading at its comma, and with it the types of
all parameters. The docstring says what the default is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def readable(signature: str) -> str:
    """Return a signature with dots where a default is shown in angle brackets."""
    return re.sub(r"= ?<[^<>]*>", "= ...", signature)


def _process(*event: Any) -> tuple[str | None, str | None]:
    *_, signature, return_annotation = event
    return None if signature is None else readable(signature), return_annotation


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
