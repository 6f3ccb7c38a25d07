"""One token after the other: how each was chosen, in one answer or in the chat's last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from conftest import ModelMaker
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat
from mullama_nb.errors import HistoryError, ParameterError
from mullama_nb.plots.choice import choice as draw
from mullama_nb.widgets import Choice


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, n_threads_batch=1)
    chat.ask("Hi", max_tokens=4, seed=1)
    return chat


@pytest.fixture
def choice(chat: Chat) -> Iterator[Choice]:
    made = Choice(chat.turns[-1], 1)
    yield made
    made.close()


def test_sends_the_steps_and_the_answer(chat: Chat, choice: Choice) -> None:
    turn = chat.turns[-1]
    found = choice.look()
    assert found == turn.choice(1)
    snapshot = choice.take_snapshot()
    json.dumps(snapshot)
    assert snapshot["token"] == 1
    assert snapshot["at"] == snapshot["here"]
    assert len(snapshot["tokens"]) == len(turn.tokens)
    names = [bar[0] for bar in snapshot["found"]["bars"]]
    assert names == ["Model", "Top-k", "Top-p", "Min-p", "Temperature", "Draw"]
    assert snapshot["found"]["draw"][0] == pytest.approx(found.draw.number, abs=1e-6)


def test_says_where_the_next_answer_would_find_nothing(choice: Choice) -> None:
    found = choice.look()
    assert found.draw is not None
    assert "XTC" not in choice.draw_html()
    nothing = replace(found.draw, next_token=None, next_text=None)
    choice.found = replace(found, draw=nothing)
    assert "XTC leaves nothing then that continues the grammar" in choice.draw_html()
    assert choice.take_snapshot()["found"]["draw"][2] is None
    texts = [text.get_text() for axes in draw(choice.found).axes for text in axes.texts]
    assert "next: nothing" in texts


def test_tokens_are_sent_once_for_each_answer(chat: Chat, choice: Choice) -> None:
    assert "tokens" in choice.look_here()
    choice._token = 2
    change = choice.look_here()
    assert "tokens" not in change
    assert change["token"] == 2
    assert choice.take_snapshot()["tokens"]  # for a view that has just come
    follower = Choice(chat)
    follower.look_here()
    chat.regenerate(max_tokens=2)
    assert len(follower.look_here()["tokens"]) == 2
    follower.close()


def test_goes_from_token_to_token(chat: Chat, choice: Choice) -> None:
    turn = chat.turns[-1]
    choice.handle("show", {"token": 2})
    assert choice.found == turn.choice(2)
    choice.look(-1)
    assert choice.take_snapshot()["token"] == len(turn.tokens) - 1
    with pytest.raises(ParameterError, match="has 4 tokens"):
        choice.handle("show", {"token": 4})
    assert repr(choice) == "Choice(token 3 of 4)"


@pytest.mark.slow
def test_an_answer_stays_and_a_chat_is_followed(chat: Chat, choice: Choice) -> None:
    follower = Choice(chat, token=3)
    follower.showing.hear("page", 1)
    follower.listen()
    wait_until(lambda: follower.found is not None)
    first = chat.turns[-1]
    second = chat.regenerate(max_tokens=2, seed=1)
    wait_until(lambda: follower.found == second.choice(1))  # the nearest to what was shown
    third = chat.regenerate(max_tokens=6, seed=1)
    wait_until(lambda: follower.found == third.choice(3))
    assert choice.look() == first.choice(1)
    follower.close()


def test_says_so_of_tokens_that_no_number_drew(chat: Chat) -> None:
    greedy = chat.ask("Ho", max_tokens=3, temperature=0)
    shown = Choice(greedy, 1)
    shown.look()
    assert "no number was drawn" in shown.to_html()
    assert shown.take_snapshot()["found"]["draw"] is None
    forked = chat.fork(greedy, token=1, choose=7, max_tokens=2)
    given = Choice(forked, 1)
    given.look()
    assert "not chosen by the model" in given.to_html()
    shown.close()
    given.close()


def test_without_an_answer_there_is_nothing_to_see(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1)
    choice = Choice(chat)
    bundle, _ = choice._repr_mimebundle_()
    assert "no answer" in bundle["text/html"]
    assert repr(choice) == "Choice(no answer)"
    with pytest.raises(HistoryError, match="no answer"):
        choice.look()
    chat.ask("Hi", max_tokens=2)
    bundle, _ = choice._repr_mimebundle_()
    assert bundle["image/svg+xml"] in bundle["text/html"]
    assert "The next answer would draw" in bundle["text/html"]
    choice.close()


def test_a_pruned_answer_is_an_error_to_show(chat: Chat, choice: Choice) -> None:
    choice.look()
    chat.regenerate(max_tokens=2)
    chat.tree.prune(choice._only.checkpoint, force=True)  # type: ignore[union-attr]
    choice._do("look", {})
    wait_until(lambda: choice.error)
    assert "pruned" in choice.to_html()
    json.dumps(choice.take_snapshot())


def test_other_sources_are_refused(chat: Chat) -> None:
    with pytest.raises(ParameterError, match="a Turn or a Chat"):
        Choice("chat")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="has 4 tokens"):
        Choice(chat.turns[-1], 9)
    with pytest.raises(ParameterError, match="integer"):
        Choice(chat, "1")  # type: ignore[arg-type]
