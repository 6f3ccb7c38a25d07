"""What Tab offers on trees, chats and contexts: what a user calls, with docstring and example."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path

import pytest
from test_readme import examples

from mullama_nb import Chat, Checkpoint, CheckpointTree, Context, Turn

ROOT = Path(__file__).parents[1]

TREE = """
adapters cells checkout children commit diff find flush fork fork_at head is_held is_held_by_cell
keeps_snapshots kv_bytes leaves log memory on_change path prune redo redo_path segment siblings
spill tag tags to_svg tokens turn uncommitted undo undo_steps untag visit
"""
CHAT = """
aask adapters aexplore alternatives answer_format ask astream at autosave chat_template
chat_template_kwargs checkout compare count_tokens edit explore export fork from_messages
from_transcript head keep_reasoning kv_bytes likely limits load_session messages model open
open_or_create redo redo_steps regenerate replay resume sampling save save_session score steps stop
system tag to_html tools trim turns undo undo_steps with_n_ctx
"""
CONTEXT = """
adapters aevaluate agenerate aload_session asave_session astream capture claim clear close
continuations evaluate exploration explore fork generate in_callback is_resting known_adapters
kv_bytes layout load_session logits logits_at look mark memory_kind owner release rest restore
rewind save_session score score_held session_metadata settings_digest stop stream take_session tally
text token_count tokens top_tokens waiting watermark
"""
# What trees and stores are built on; nobody else needs it.
FOR_TREES = {
    *("claim", "exploration", "in_callback", "mark", "owner", "release", "take_session"),
    *("tally", "watermark"),
}
CHECKPOINT = """
address changed children descendants followers id is_ancestor_of is_exact is_root is_unfinished
lineage logprobs metadata n_bytes ordinal parent place previous rows_exact short_id siblings spoken
start stop tags text tokens tree
"""


def members(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize(
    ("kind", "names"),
    [(CheckpointTree, TREE), (Chat, CHAT), (Context, CONTEXT), (Checkpoint, CHECKPOINT)],
)
def test_public_members_are_what_a_user_calls(kind: type, names: str) -> None:
    assert members(kind) == names.split()


@pytest.mark.parametrize("kind", [CheckpointTree, Chat])
def test_instances_have_no_others(kind: type) -> None:
    attributes = {CheckpointTree: {"context", "root"}, Chat: {"context", "tree"}}[kind]
    (constructor,) = (f for n, f in vars(kind).items() if n == "__init__")
    source = inspect.getsource(constructor)
    assert set(re.findall(r"self\.([a-z]\w*)(?:: [^=\n]+)? = ", source)) == attributes


@pytest.mark.parametrize("kind", [CheckpointTree, Chat, Context])
def test_each_has_a_docstring_and_an_example(kind: type) -> None:
    patterns = ["README.md", "docs/*.md", "notebooks/*.ipynb"]
    pages = [path for pattern in patterns for path in ROOT.glob(pattern)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    for name in members(kind):
        assert inspect.getdoc(getattr(kind, name)), name
        has_example = re.search(rf"\.{name}\b", text) is not None
        assert has_example or name in FOR_TREES, f"{kind.__name__}.{name} has no example"


RUN = """
adapters chats contexts gpu hubs looking-inside regression-tests sessions sharing start teaching
trees
"""


@pytest.mark.parametrize("page", [f"{name}.md" for name in RUN.split()])
@pytest.mark.usefixtures("smollm2_path")
def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = ROOT / "docs" / page
    names: dict[str, object] = {"__name__": "__main__"}
    for source in examples(path.read_text(encoding="utf-8")):
        exec(compile(source, str(path), "exec"), names)


def test_turns_and_checkpoints_lead_back_to_what_they_belong_to() -> None:
    """So that ``turn.chat.ask()`` and ``checkpoint.tree.checkout()`` are known to type checkers."""
    getter = Checkpoint.tree.fget  # type: ignore[attr-defined]
    assert typing.get_type_hints(getter)["return"] is CheckpointTree
    assert Turn.__annotations__["chat"] == "Chat"
