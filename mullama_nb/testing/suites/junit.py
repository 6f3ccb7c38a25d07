"""Results as a JUnit file, which CI services show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from ...state.atomic import write_atomically
from .cell import SuiteCell
from .matrix import Matrix
from .told import properties, report

__all__ = ["write_junit"]

# https://www.w3.org/TR/xml/#charsets
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(result: Matrix, path: Path) -> None:
    """Write a file that is readable by its owner only: it holds answers.

    Raises
    ------
    SessionWriteError
        When it cannot be written; an existing one is intact.
    """
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_text(result.name),
        tests=str(len(result.tasks)),
        failures=str(sum(cell.error is None for cell in result.failed)),
        errors=str(sum(cell.error is not None for cell in result.failed)),
        skipped=str(len(result.missing)),
        time=_seconds(sum(cell.seconds for cell in result.cells)),
    )
    for cell in result.cells:
        _add(suite, result.name, cell)
    for id_ in result.missing:
        case = ET.SubElement(suite, "testcase", classname=_text(result.name), name=_text(id_))
        ET.SubElement(case, "skipped", message="it was not run")
    text = ET.tostring(root, encoding="unicode")
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    write_atomically(path, [f"{declaration}{text}\n".encode()])


def _add(suite: ET.Element, name: str, cell: SuiteCell) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_text(name),
        name=_text(cell.id),
        time=_seconds(cell.seconds),
    )
    listed = ET.SubElement(case, "properties")
    for key, value in properties(cell):
        ET.SubElement(listed, "property", name=_text(key), value=_text(value))
    if not cell.passed:
        first, *_ = str(cell).splitlines()[1:] or [cell.word]
        kind = "failure" if cell.error is None else "error"
        told = ET.SubElement(case, kind, message=_text(first.strip()))
        told.text = _text("\n".join(report(cell)))


def _text(text: str) -> str:
    return _NOT_IN_XML.sub(lambda odd: ascii(odd[0])[1:-1], text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
