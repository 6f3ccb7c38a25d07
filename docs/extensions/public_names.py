"""Cross-references to public names, wherever a signature or a docstring found them.

A class is public where ``__all__`` lists it, as ``mullama_nb.Chat``; annotations know it by its own
module, ``mullama_nb.history.chat.Chat``, or by its bare name. A name of another package, or one of
ours that is not public, stays text. A name of ours that does not exist remains an error.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from docutils import nodes

from .public_modules import PUBLIC

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


@cache
def _public_places() -> dict[str, str]:
    """Return the public place of each public name: by its bare name and by its own module."""
    places: dict[str, str] = {}
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            for key in (name, f"{value.__module__}.{name}"):
                places.setdefault(key, f"{module_name}.{name}")
    return places


def _find(target: str) -> Any:
    """Return what a dotted name of the package stands for, or None."""
    module_name, _, rest = target.partition(".")
    found: Any = importlib.import_module(module_name)
    for part in rest.split(".") if rest else ():
        module_name = f"{module_name}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(module_name)
            except ImportError:
                return None
    return found


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Node | None:
    target = node.get("reftarget", "")
    if target.startswith(("python:", "numpy:")):  # numpydoc would link its words for types
        return contnode
    if node.get("refdomain") != "py":
        return None
    place = _public_places().get(target)
    if place is not None:
        domain = env.domains["py"]
        for kind in ("class", "exc", "func", "obj"):
            found = domain.resolve_xref(
                env, node["refdoc"], app.builder, kind, place, node, contnode
            )
            if found is not None:
                return found
    ours = target.split(".")[0] == "mullama_nb"
    if ours and _find(target) is None:
        return None
    return contnode if ours or node["reftype"] in ("class", "obj", "exc", "data") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
