"""The front end of a widget: one script and one style sheet, from the files in ``front_end``.

The scripts there are ES modules with explicit imports and exports. A page gets a widget's script as
one text and cannot load others, so the modules are joined: each becomes a function that is called
once and returns the module's exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..palette import palette_css

__all__ = ["front_end", "join_modules"]

_FOLDER = Path(__file__).parent / "front_end"

# Statements of modules begin a line, as the formatter has it; other forms than these are refused.
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_IMPORTED = re.compile(r"(\w+)(?: as \w+)?")
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
_DEFAULT = re.compile(r"^export default ", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


def front_end(name: str, *parts: str) -> tuple[str, str]:
    """Return the script and the style sheet of a widget.

    Parameters
    ----------
    name : str
        The name of its files. The palette and ``common.css`` precede each widget's style sheet.
    *parts : str
        Names of further style sheets, of parts that several widgets have.
    """
    sheets = (_FOLDER / f"{each}.css" for each in ("common", *parts, name))
    style = "\n".join([palette_css(), *(sheet.read_text("utf-8") for sheet in sheets)])
    return join_modules(_FOLDER, name), style


def join_modules(folder: Path, name: str) -> str:
    """Return one ES module that joins a module with all its imports.

    Parameters
    ----------
    folder : Path
        Where the modules are.
    name : str
        Of the module that exports the default, without ``.js``.

    Raises
    ------
    ValueError
        When imports are circular or of what is not exported, or modules use another form than
        ``import { a, b as c } from "./name.js";`` and ``export`` before a ``function``, ``class``,
        ``const`` or ``default``.
    """
    texts = dict(_modules_in_order(folder, name, ()))
    for each, text in texts.items():
        for match in _IMPORT.finditer(text):
            missing = {*_IMPORTED.findall(match[1])} - {*_exports(texts[match[2]])}
            if missing:
                names = ", ".join(sorted(missing))
                raise ValueError(f"{each}.js: {match[2]}.js does not export {names}")
    parts = [_as_function(each, text) for each, text in texts.items()]
    return "\n".join([*parts, f"export default ${name}.default;\n"])


def _modules_in_order(
    folder: Path, name: str, importers: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Modules after those that they import; one may come several times."""
    if name in importers:
        raise ValueError(f"modules import each other: {' -> '.join((*importers, name))}")
    text = (folder / f"{name}.js").read_text("utf-8")
    for match in _IMPORT.finditer(text):
        yield from _modules_in_order(folder, match[2], (*importers, name))
    yield name, text


def _as_function(name: str, text: str) -> str:
    exports = _exports(text)
    text = _COMMENT.sub("", text)  # pages need no words on types
    text = _IMPORT.sub(_as_constants, text)
    text = _EXPORT.sub(r"\1 \2", text)
    text, n_defaults = _DEFAULT.subn("const $default = ", text)
    if other := _OTHER.search(text):
        raise ValueError(f"{name}.js: this cannot be joined: {other[0]}")
    exports += ["default: $default"] * n_defaults
    return f"const ${name} = (() => {{\n{text}return {{ {', '.join(exports)} }};\n}})();"


def _exports(text: str) -> list[str]:
    """What a module exports by name; of several names after one ``const``, the first."""
    return [match[2] for match in _EXPORT.finditer(text)]


def _as_constants(match: re.Match[str]) -> str:
    names = " ".join(match[1].split()).replace(" as ", ": ")
    return f"const {{ {names} }} = ${match[2]};"
