"""Which module imports which, imports for type checkers and within functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import mullama_nb

PACKAGE = Path(mullama_nb.__file__).parent
MODULES = {
    ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}


def imports(module: str, path: Path) -> set[str]:
    """The package's modules that a module imports anywhere in its text."""
    is_package = path.name == "__init__.py"
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            inner = {f"{name}.{alias.name}" for alias in node.names}
            # Of a package whose modules are named, nothing but those is needed.
            found |= inner if inner <= MODULES.keys() else inner | {name}
    return found & MODULES.keys()


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules of which each is reached from each other one."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph[start]]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        return seen

    behind = {module: reached(module) for module in graph}
    found: list[set[str]] = []
    for module in graph:
        together = {other for other in behind[module] if module in behind[other]}
        if together and together not in found:
            found.append(together)
    return found


GRAPH = {module: imports(module, path) for module, path in MODULES.items()}


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set[str]()}
    assert circles(graph) == [{"a", "b", "c"}]


def test_nothing_is_imported_in_a_circle() -> None:
    """But for a chat and what it returns that goes on with it: ``turn.chat``, ``likely.chat``."""
    names = ("chat", "likely", "turn")
    assert circles(GRAPH) == [{f"mullama_nb.history.{name}" for name in names}]
