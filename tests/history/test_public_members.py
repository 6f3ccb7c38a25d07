"""What Tab offers on a tree and on a chat: what a user calls, with a docstring and an example."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path

import pytest
from test_readme import examples

from mullama_nb import Chat, Checkpoint, CheckpointTree, Turn

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "trees.md"

TREE = """
checkout children commit diff find flush fork fork_at head is_held_by_cell keeps_snapshots kv_bytes
leaves log memory on_change path prune redo redo_path segment siblings spill tag tags tokens turn
uncommitted undo undo_steps untag visit
"""
CHAT = """
aask aexplore alternatives ask astream at autosave checkout compare edit explore export fork
from_messages head kv_bytes load_session messages model open open_or_create redo redo_steps
regenerate replay resume save save_session score stop system tag tools trim turns undo undo_steps
"""
CHECKPOINT = """
address changed children descendants id is_ancestor_of is_exact is_root is_unfinished lineage
logprobs metadata n_bytes ordinal parent place rows_exact short_id siblings spoken start stop tags
text tokens tree
"""


def members(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize(
    ("kind", "names"), [(CheckpointTree, TREE), (Chat, CHAT), (Checkpoint, CHECKPOINT)]
)
def test_public_members_are_what_a_user_calls(kind: type, names: str) -> None:
    assert members(kind) == names.split()


@pytest.mark.parametrize("kind", [CheckpointTree, Chat])
def test_instances_have_no_others(kind: type) -> None:
    attributes = {CheckpointTree: {"context", "root"}, Chat: {"context", "sampling", "tree"}}[kind]
    (constructor,) = (f for n, f in vars(kind).items() if n == "__init__")
    source = inspect.getsource(constructor)
    assert set(re.findall(r"self\.([a-z]\w*)(?:: [^=\n]+)? = ", source)) == attributes


@pytest.mark.parametrize("kind", [CheckpointTree, Chat])
@pytest.mark.parametrize("pages", [["README.md", "docs/*.md", "notebooks/*.ipynb"]], ids=["pages"])
def test_each_has_a_docstring_and_an_example(kind: type, pages: list[str]) -> None:
    found = [path for pattern in pages for path in ROOT.glob(pattern)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in found)
    for name in members(kind):
        assert inspect.getdoc(getattr(kind, name)), name
        assert re.search(rf"\.{name}\b", text), f"{kind.__name__}.{name} has no example"


@pytest.mark.usefixtures("smollm2_path")
def test_the_examples_of_trees_run() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for source in examples(PAGE.read_text(encoding="utf-8")):
        exec(compile(source, str(PAGE), "exec"), names)


def test_turns_and_checkpoints_lead_back_to_what_they_belong_to() -> None:
    """So that ``turn.chat.ask()`` and ``checkpoint.tree.checkout()`` are known to type checkers."""
    getter = Checkpoint.tree.fget  # type: ignore[attr-defined]
    assert typing.get_type_hints(getter)["return"] is CheckpointTree
    assert Turn.__annotations__["chat"] == "Chat"
