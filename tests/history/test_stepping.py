"""A question asked step by step is the same as one asked at once, wherever it is held or ended."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from history.conftest import ChatMaker
from history.test_lock import check_every_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupting import count_lines, interrupt
from template_models import make_template_model
from waiting import wait_until

from mullama_nb import Chat, Model, plots
from mullama_nb.errors import ContextFullError, CopyError, HistoryError, ParameterError
from mullama_nb.history.stage import Stage


def shape(chat: Chat) -> list[tuple[Any, ...]]:
    """All of a tree that ids, tokens and notes say."""
    return [(c.id, c.tokens, c.logprobs, {**c.metadata}, c.address) for c in chat.tree]


def test_the_stages_are_those_of_the_ask(new_chat: ChatMaker) -> None:
    chat, other = new_chat("Be brief.", seed=1), new_chat("Be brief.", seed=1)
    steps = chat.steps("why?", max_tokens=3)
    stages = list(steps)
    turn = other.ask("why?", max_tokens=3)
    assert [stage.name for stage in stages] == [
        *("tokenize", "prefix", "evaluate", "capture", "evaluate", "capture"),
        *("decode", "decode", "decode", "capture"),
    ]
    tokenized, prefix, *rest = stages
    question = chat.head.parent
    assert question is not None
    assert tokenized.n_tokens == question.stop
    assert (prefix.n_tokens, prefix.detail) == (0, {"dropped": 0, "missing": question.stop})
    evaluated = [stage for stage in rest if stage.name == "evaluate"]
    assert sum(stage.n_tokens for stage in evaluated) == question.stop
    drawn = [stage.detail["token"] for stage in rest if stage.name == "decode"]
    assert tuple(drawn) == chat.head.tokens
    kept = [stage.detail for stage in rest if stage.name == "capture"]
    assert [(each["checkpoint"], each["bytes"]) for each in kept] == [
        (checkpoint.id, checkpoint.n_bytes) for checkpoint in chat.tree.path()
    ]
    assert shape(chat) == shape(other)
    assert steps.turn is not None
    assert steps.turn.tokens == turn.tokens
    assert list(steps) == []
    assert all("Stage(" in repr(stage) for stage in stages)


@pytest.mark.slow
def test_what_a_template_rewrites_is_dropped_and_evaluated(tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "templates" / "counts_messages.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", source))
    chat = Chat(model, n_ctx=512, n_threads=1, seed=1)
    chat.ask("one?", max_tokens=2)
    n_held = chat.context.token_count()
    stages = {stage.name: stage for stage in chat.steps("two?", max_tokens=1)}
    prefix = stages["prefix"]
    assert prefix.n_tokens < n_held  # the number of messages stands in front of all
    assert prefix.detail["dropped"] == n_held - prefix.n_tokens
    assert prefix.detail["missing"] == stages["evaluate"].n_tokens
    assert stages["tokenize"].n_tokens == prefix.n_tokens + prefix.detail["missing"]
    n_again = chat.turns[-2].checkpoint.metadata.evaluated_again["tokens"]
    (again,) = (span for strip in chat.tree.cells().strips for span in strip.again)
    assert again == (prefix.n_tokens, prefix.n_tokens + n_again)
    assert plots.cell_map(chat)._repr_png_().startswith(b"\x89PNG")  # type: ignore[operator]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 12), st.sampled_from(["finish", "close", "stop", "undo", "forget"]))
def test_it_may_end_after_any_stage(new_chat: ChatMaker, n: int, how: str) -> None:
    chat, other = new_chat("Be brief.", seed=1), new_chat("Be brief.", seed=1)
    chat.ask("one?", max_tokens=2)
    other.ask("one?", max_tokens=2)
    n_before = len(chat.turns)
    steps = chat.steps("why?", max_tokens=5)
    seen = [stage for stage, _ in zip(steps, range(n), strict=False)]
    drawn = [stage for stage in seen if stage.name == "decode"]
    if how == "finish":
        turn = steps.finish()
        other.ask("why?", max_tokens=5)
        assert shape(chat) == shape(other)
        assert turn.checkpoint is chat.head
    elif how == "close":
        steps.close()
    elif how == "stop":
        chat.stop()
        try:
            rest = list(steps)
        except HistoryError as error:
            assert "stopped" in str(error)  # noqa: PT017 - only where it had not begun
        else:
            assert {stage.name for stage in rest} <= {"capture", "decode"} or not seen
    elif how == "undo":
        chat.undo()
    else:
        del steps
        gc.collect()
    if how in ("close", "forget"):
        assert chat.ask("and then?", max_tokens=1).role == "assistant"  # it is free again
        said = [turn.text for turn in chat.turns[n_before:] if turn.role == "user"]
        assert said == ["why?", "and then?"] if len(seen) > 2 else said[-1:] == ["and then?"]
        if drawn and how == "close":
            answer = chat.turns[n_before + 1]
            assert len(answer.tokens) >= len(drawn)
    chat.tree.checkout(chat.head)
    assert chat.tree.uncommitted == 0


def test_it_is_held_where_it_is_seen(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=5)
    n_held = {}
    for stage in steps:
        n_held.setdefault(stage.name, chat.context.token_count())
        assert chat.context.top_tokens(1) if chat.context.token_count() else True
        assert chat.tree.cells().n_used == chat.context.token_count()
    question = chat.tree.path()[0].stop
    assert n_held == {
        "tokenize": 0,
        "prefix": 0,
        "evaluate": question,
        "capture": question,
        "decode": question + 1,
    }


def test_nobody_waits_between_two_steps(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=5)
    for _ in range(6):
        next(steps)
        for change in (
            lambda: chat.ask("no", max_tokens=1),
            lambda: chat.tree.commit(),
            lambda: chat.redo(),
            lambda: chat.tag("x"),
        ):
            with pytest.raises(HistoryError, match="next\\(steps\\)"):
                change()
            thread, failed = in_thread(change)
            thread.join()
            assert isinstance(failed[0], HistoryError)
    assert len(steps.finish().tokens) == 5
    chat.tag("x")


def in_thread(change: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that does something, and what it raised."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            change()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, failed


def test_who_waits_for_a_stage_is_refused_at_its_end(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    begun: list[tuple[threading.Thread, list[BaseException]]] = []

    def tag(_: object) -> None:
        if not begun:
            begun.append(in_thread(lambda: chat.tag("then")))
            wait_until(chat._workspace.lock.is_wanted)

    steps = chat.steps("why?", max_tokens=3, on_token=tag)
    while not begun:
        next(steps)
    next(steps)
    thread, failed = begun[0]
    thread.join()
    assert isinstance(failed[0], HistoryError)
    assert "then" not in chat.tree.tags
    steps.finish()


def test_no_step_is_taken_while_holding_the_tree(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=1)
    with chat.tree.turn(), pytest.raises(HistoryError, match="outside of turn"):
        next(steps)
    assert [stage.name for stage in steps][-2:] == ["decode", "capture"]


def test_other_threads_read_meanwhile(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=3)
    while next(steps).name != "decode":
        pass
    seen: list[object] = []
    reader, failed = in_thread(
        lambda: seen.append((chat.head, chat.tree.uncommitted, str(chat.tree)))
    )
    reader.join()
    assert failed == []
    assert seen == [(chat.head, 1, str(chat.tree))]
    steps.close()


def test_another_thread_stops_it(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=30)
    while next(steps).name != "decode":
        pass
    thread = threading.Thread(target=chat.undo)
    thread.start()
    thread.join()
    assert not thread.is_alive()
    assert chat.head.is_root
    rest = list(steps)
    assert {stage.name for stage in rest} <= {"decode", "capture"}
    assert steps.turn is not None
    assert not steps.turn.is_complete
    assert chat.redo() is not None


def test_an_interrupt_keeps_what_there_is(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    drawn: list[object] = []

    def tell(token: object) -> None:
        drawn.append(token)
        if len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    steps = chat.steps("why?", max_tokens=400, on_token=tell)
    while len(drawn) < 3:
        next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.finish()
    assert chat.head.metadata.is_answer
    assert chat.head.is_unfinished
    assert 5 <= len(chat.head.tokens) < 400
    assert chat.resume(max_tokens=2).text
    assert list(steps) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_an_interrupt_at_any_line_leaves_whole_messages(new_chat: ChatMaker, seed: int) -> None:
    chat = new_chat(seed=1)
    chat.ask("begin?", max_tokens=2)

    def job() -> None:
        with chat.steps("on and on?", max_tokens=8) as steps:
            for _ in steps:
                pass
        chat.undo()

    interrupt(job, random.Random(seed).randint(1, count_lines(job)))
    if not chat._workspace.lock.is_mine:  # it may have struck before the steps were closed
        chat.stop()
    check_every_checkpoint(chat)
    assert chat.ask("and then?", max_tokens=1)


def test_errors_are_those_of_the_ask(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1, n_ctx=64)
    with pytest.raises(ParameterError, match="max_tokens"):
        chat.steps("why?", max_tokens=-1)
    steps = chat.steps("why? " * 100)
    assert [next(steps).name, next(steps).name] == ["tokenize", "prefix"]
    with pytest.raises(ContextFullError):
        next(steps)
    assert list(steps) == []
    with pytest.raises(HistoryError, match="before it answered"):
        steps.finish()
    assert chat.head.is_root
    assert chat.ask("why?", max_tokens=1)


def test_nothing_happens_before_the_first_step(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    steps = chat.steps("why?", max_tokens=1)
    assert chat.ask("one?", max_tokens=1)
    steps.close()
    assert list(steps) == []
    assert len(chat.turns) == 2
    with pytest.raises(CopyError):
        steps.__reduce_ex__(4)


def test_a_stage_reads_well() -> None:
    assert repr(Stage("prefix", 1, {"dropped": 2, "missing": 3})) == (
        "Stage(prefix: 1 token kept, 2 dropped, 3 to evaluate)"
    )
    drawn = {"token": 1, "text": "<b>", "probability": 0.25, "position": 4}
    assert "&lt;b&gt;" in Stage("decode", 1, drawn)._repr_html_()
