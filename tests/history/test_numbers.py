"""numpy's numbers are taken wherever Python's are, and biases of -inf are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mullama_nb import Chat, Model
from mullama_nb.history.options import recalled
from mullama_nb.testing import record, replay

ChatMaker = Callable[..., Chat]


@pytest.mark.parametrize(("of_int", "of_float"), [(np.int64, np.float32), (np.uint8, np.float64)])
def test_what_numpys_numbers_ask_for_is_answered_and_saved(
    new_chat: ChatMaker, tmp_path: Path, of_int: Callable[[int], Any], of_float: Callable[..., Any]
) -> None:
    plain = new_chat(temperature=0.5)
    chat = new_chat(temperature=of_float(0.5), n_ctx=np.int32(512), n_parallel=of_int(4))
    for each, integer in ((plain, int), (chat, of_int)):
        options: dict[str, Any] = {
            "max_tokens": integer(6),
            "top_k": integer(30),
            "seed": integer(7),
            "stop_tokens": [integer(5)],
            "logit_bias": {integer(40): -math.inf},
        }
        turn = each.ask("One?", **options)
        each.fork(turn, token=integer(2), choose=integer(33), **options)
        answers = each.explore("Two?", integer(3), **options)
        answers.drop_others(integer(1))
        each.undo(integer(1))
        each.redo(integer(1))
        each.alternatives(turn, integer(1), k=integer(3))
        if integer is np.int64:
            each.alternatives(turn, np.int8(-1))
        each.context.top_tokens(integer(2), at=integer(4))
        each.trim(integer(1))
    assert [c.tokens for c in chat.tree] == [c.tokens for c in plain.tree]
    assert [dict(c.metadata) for c in chat.tree] == [dict(c.metadata) for c in plain.tree]
    chat.save("numbers", tmp_path)
    opened = Chat.open("numbers", chat.model, tmp_path, n_parallel=of_int(2))
    assert [dict(c.metadata) for c in opened.tree] == [dict(c.metadata) for c in plain.tree]
    context = opened.context
    context.rewind(of_int(9))
    token = of_int(60)
    context.evaluate([token])
    context.generate(None, of_int(4), sibling=of_int(1), stop_tokens=np.array([2, 5]))
    assert set(map(type, context.tokens)) == {int}


def test_forbidden_tokens_stay_forbidden(chat_model: Model, tmp_path: Path) -> None:
    forbidden = dict.fromkeys(range(0, 512, 2), -math.inf) | {3: -1}
    chat = Chat(chat_model, n_ctx=512, n_threads=1, logit_bias=forbidden)
    answers = [chat.ask("One?", max_tokens=8), *chat.explore("Two?", 3, max_tokens=8)]
    chat.save("biased", tmp_path)
    chat.autosave("again", tmp_path)
    opened = Chat.open_or_create("again", chat_model, tmp_path, logit_bias=forbidden)
    assert opened.sampling == chat.sampling
    answers.append(opened.ask("Three?", max_tokens=8))
    for turn in answers:
        assert all(token % 2 for token in turn.tokens)
        assert recalled(turn.checkpoint.metadata.sampling).logit_bias == forbidden
    record(opened, tmp_path / "biased.mullama.json")
    assert replay(tmp_path / "biased.mullama.json", chat_model, "exact").passed
