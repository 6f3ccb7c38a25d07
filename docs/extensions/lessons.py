"""Lessons as they were saved; where an output is a widget, its picture.

A cell whose metadata has ``"picture": "timeline.png"`` shows that file of ``docs/pictures``, which
``make screenshots`` makes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PICTURES = Path(__file__).parents[1] / "pictures"


def _show_pictures(app: Sphinx, name: str, source: list[str]) -> None:
    path = Path(app.env.doc2path(name))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if "picture" in cell["metadata"]:
            _show_picture(app, name, cell)
    source[0] = json.dumps(notebook)


def _show_picture(app: Sphinx, name: str, cell: dict[str, Any]) -> None:
    """Put a picture in place of the output that is a widget, which is a cell's last one."""
    path = PICTURES / cell["metadata"]["picture"]
    app.env.note_dependency(path, docname=name)
    data = {"image/png": base64.b64encode(path.read_bytes()).decode()}
    cell["outputs"][-1]["data"] = data
    alt = cell["metadata"]["picture_says"]
    cell["metadata"]["mystnb"] = {"image": {"alt": alt, "width": "100%"}}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _show_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
