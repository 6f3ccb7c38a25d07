"""Rows beyond the budget go to disk and come back exact; what is lost is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mullama_nb import Chat, Model
from mullama_nb.errors import InexactWarning
from mullama_nb.history.drawing import draw_text

from .conftest import ChatMaker


def talk(chat: Chat) -> dict[str, object]:
    """Four turns, one branch beside; the logits of each checkpoint."""
    for n in range(4):
        chat.ask(f"question {n}?", max_tokens=4)
    chat.undo(2)
    chat.ask("another?", max_tokens=4)
    logits: dict[str, object] = {}
    for checkpoint in chat.tree:
        chat.tree.checkout(checkpoint)
        logits[checkpoint.id] = chat.context.logits
    return logits


def test_what_spilled_comes_back_exact(new_chat: ChatMaker) -> None:
    plain, tight = new_chat(), new_chat(max_bytes=20_000)
    expected, found = talk(plain), talk(tight)
    assert {c.place for c in tight.tree} >= {"disk"}
    assert tight.tree.memory.total("disk") > 0
    assert expected.keys() == found.keys()
    for key, logits in expected.items():
        assert np.array_equal(logits, found[key])
    assert all(checkpoint.is_exact for checkpoint in tight.tree)


def test_lost_rows_are_evaluated_again_and_that_is_said(
    new_chat: ChatMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # no room on disk either
    chat = new_chat(max_bytes=0, n_ubatch=64)
    chat.ask("a question that is longer than a ubatch is " * 3, max_tokens=4)
    n_tokens = chat.context.token_count()
    question = chat.tree.path()[0]
    assert [c.place for c in chat.tree] == ["lost", "lost"]
    chat.undo()
    # With other batches rows differ, so another chunking stands in for another machine.
    with pytest.MonkeyPatch.context() as patch:
        evaluate = type(chat.context).evaluate
        patch.setattr(
            type(chat.context),
            "evaluate",
            lambda self, tokens, **options: sum(evaluate(self, [t], **options) for t in tokens),
        )
        with pytest.warns(InexactWarning, match="were evaluated again") as caught:
            chat.redo()
    assert caught[0].filename == __file__
    assert chat.context.token_count() == n_tokens
    assert not question.is_exact
    assert "(evaluated again)" in draw_text(chat.tree)


def test_lost_rows_of_exact_answers_come_out_the_same(
    new_chat: ChatMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    chat = new_chat(max_bytes=0)
    answers = chat.explore("why?", n=3, max_tokens=4, temperature=1.5, exact=True)
    assert {answer.checkpoint.place for answer in answers} == {"lost"}
    for answer in answers:
        answer.keep()  # a warning would be an error
    assert all(checkpoint.is_exact for checkpoint in chat.tree)


def test_a_conversation_costs_its_tokens_once(smollm2: Model) -> None:
    chat = Chat(smollm2, n_ctx=1024)
    for n in range(6):
        chat.ask(f"Name colour {n}.", max_tokens=8)
    counted = chat.tree.kv_bytes()
    n_tokens = chat.context.token_count()
    assert counted.own == counted.total
    assert n_tokens * 23_040 < counted.total <= 1.05 * n_tokens * 23_040
    assert counted.snapshots > 5 * counted.total
    chat.undo()
    chat.ask("Another one.", max_tokens=4)
    assert 0 < chat.tree.kv_bytes().shared < chat.tree.kv_bytes().total
