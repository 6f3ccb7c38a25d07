"""Contexts that only a notebook's history holds rest; all others stay awake."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import ModelMaker
from IPython.core.interactiveshell import InteractiveShell
from tiny_models import CHATML

from mullama_nb import Chat, CheckpointTree, Context, ContextParams
from mullama_nb.engine import resting

N_CTX = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1}
Run = Callable[[str], object]
pytestmark = pytest.mark.usefixtures("main_module")


@pytest.fixture
def shell(tiny: ModelMaker) -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance(colors="nocolor")
    model = tiny("llama", chat_template=CHATML)
    shell.user_ns |= {
        "Chat": lambda: Chat(model, **N_CTX),
        "Context": lambda: Context(model, ContextParams(**N_CTX)),
        "Tree": CheckpointTree,
    }
    yield shell
    shell.reset()
    InteractiveShell.clear_instance()
    gc.collect()


@pytest.fixture
def run(shell: InteractiveShell) -> Run:
    def run(cell: str) -> object:
        result = shell.run_cell(cell, store_history=True)
        result.raise_error()
        return result.result

    return run


def awake() -> int:
    """How many contexts have cells."""
    return sum(not context.is_resting for context in list(resting._contexts))


SHOWN = {
    "a chat": "x = Chat(); x",
    "its answer": "x = Chat(); x.ask('hello', max_tokens=2, echo=False)",
    "its tree": "x = Chat(); x.tree",
    "its context": "x = Chat(); x.context",
    "answers": "x = Chat(); x.ask('a', max_tokens=1, echo=False); x.explore(n=2, max_tokens=2)",
    "a list": "x = [Chat()]; x",
    "a dict": "x = {'chat': Chat()}; [x]",
    "a context": "x = Context(); x",
    "a tree": "x = Tree(Context()); x",
    "a method": "x = Chat(); x.ask",
    "nothing": "x = Chat()\nNone",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHOWN)
def test_a_cell_that_is_run_again_leaves_one_context_awake(run: Run, kind: str) -> None:
    before = awake()
    for _ in range(4):
        run(SHOWN[kind])
        run("1 + 1")
        assert awake() - before == 1
    run("del x")
    for _ in range(3):  # `_`, `__` and `___` move on
        run("None")
    assert awake() - before == 0


KEPT = {
    "in a list": "kept = []\nx = Chat(); kept.append(x); x",
    "by its tree": "x = Chat(); kept = x.tree; x",
    "by a turn": "x = Chat(); kept = x.ask('a', max_tokens=1, echo=False); x",
    "in a closure": "x = Chat(); kept = (lambda chat: lambda: chat)(x); x",
    "in an attribute": "class Kept: pass\nkept = Kept(); x = Chat(); kept.chat = x; x",
    "by a method": "x = Chat(); kept = x.ask; x",
    "by a generator": (
        "def walk(chat):\n    yield chat\n    yield\nx = Chat(); kept = walk(x); next(kept); x"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEPT)
def test_what_a_user_still_holds_stays_awake(run: Run, kind: str) -> None:
    before = awake()
    run(KEPT[kind])
    run("x = 1")
    run("1 + 1")
    assert awake() - before == 1
    run("kept = 1")
    run("None")
    assert awake() - before == 0


def test_what_the_history_holds_goes_on_where_it_stood(run: Run, shell: InteractiveShell) -> None:
    run("x = Chat(); x.ask('hello there', max_tokens=4, echo=False, seed=1); x")
    n = shell.execution_count - 1
    run("y = Chat(); y.ask('hello there', max_tokens=4, echo=False, seed=1)\nx = 3")
    run("None")
    old, twin = shell.user_ns["Out"][n], shell.user_ns["y"]
    assert old.context.is_resting
    assert (
        old.ask("and?", max_tokens=4, seed=2).tokens
        == twin.ask("and?", max_tokens=4, seed=2).tokens
    )
    assert old.undo() is not None
    assert old.redo().tokens == twin.turns[-1].tokens  # type: ignore[union-attr]
    assert not old.context.is_resting


def test_a_chat_that_saves_itself_rests_as_well(
    run: Run, tmp_path: Any, shell: InteractiveShell
) -> None:
    shell.user_ns["folder"] = tmp_path
    before = awake()
    for i in range(4):
        run(f"x = Chat(); x.autosave('name {i}', folder); x.ask('a', max_tokens=1, echo=False); x")
    run("None")
    assert awake() - before == 1


def test_one_under_way_in_a_thread_stays_awake(run: Run) -> None:
    before = awake()
    run(
        "import threading\n"
        "go, begun = threading.Event(), threading.Event()\n"
        "def slowly(_):\n    begun.set(); go.wait()\n"
        "x = Chat()\n"
        "work = threading.Thread(target=x.ask, args=('a',), kwargs=dict(max_tokens=3, echo=False, "
        "on_token=slowly))\nwork.start(); begun.wait(); x"
    )
    run("x = 1")
    run("1")
    assert awake() - before == 1
    run("go.set(); work.join(); del work, slowly")
    run("None")
    run("None")
    assert awake() - before == 0
