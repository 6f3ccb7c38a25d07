"""Several answers grow side by side; one is kept, the others go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import HistoryError
from mullama_nb.history.events import TokenAdded
from mullama_nb.widgets.explorer import Explorer


@pytest.fixture
def explorer(tiny: ModelMaker) -> Iterator[Explorer]:
    """An explorer on a chat of 128 tokens, which bounds the answers."""
    model = tiny("llama", chat_template=CHATML)
    made = Explorer(Chat(model, n_ctx=128, n_threads=1, n_threads_batch=1))
    yield made
    made.close()


def test_keeps_one_and_drops_the_others(explorer: Explorer) -> None:
    explorer.handle("explore", {"text": "Hi", "n": 2})
    assert len(explorer.answers) == 2
    assert all(answer["finish_reason"] for answer in explorer.answers)
    explorer.handle("keep", {"branch": 1})
    assert explorer.tree.head is explorer._found[1].checkpoint  # type: ignore[index]
    explorer.handle("drop_others", {"branch": 1})
    assert [answer["is_there"] for answer in explorer.answers] == [False, True]


def test_sends_each_answers_new_text(explorer: Explorer) -> None:
    explorer.is_busy = True
    events = [TokenAdded(1, "a", -1.0, 1), TokenAdded(2, "b", -1.0, 0), TokenAdded(3, "c", -1.0, 1)]
    assert list(explorer.changes(events)) == [{"texts": [[0, "b"], [1, "ac"]]}]


def test_there_is_nothing_to_keep_before_there_are_answers(explorer: Explorer) -> None:
    with pytest.raises(HistoryError, match="explore first"):
        explorer.handle("keep", {"branch": 0})
    assert repr(explorer) == "Explorer(0 answers)"
