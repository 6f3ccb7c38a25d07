"""Branches that are stopped, interrupted or fail keep what they had; the context never notices."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ModelMaker
from engine.branching import (
    PROMPT,
    SAMPLING,
    N,
    check_branches,
    every,
    ids,
    one_of_each,
    unchanged,
)
from engine.helpers import context_of

from mullama_nb.errors import DecodeError, GrammarError


def after(n_tokens: int, action: Callable[[], object]) -> Callable[[int, object], None]:
    """A callback that does something once, when so many tokens have been told."""
    told = [0]

    def on_token(_index: int, _token: object) -> None:
        told[0] += 1
        if told[0] == n_tokens:
            action()

    return on_token


@every
def test_stop_keeps_what_each_branch_has(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT, n_parallel=4)
    with unchanged(context):
        branches = context.explore(6, 50, on_token=after(4 * 7, context.stop), **SAMPLING)
    assert [len(ids(b)) for b in branches] == [7, 7, 7, 7, 0, 0]
    assert {b.completion.finish_reason for b in branches} == {"stopped"}
    check_branches(context, branches)
    assert len(context.explore(2, 5)[0].completion.tokens) == 5


@pytest.mark.slow
@every
def test_stop_takes_back_what_was_held(tiny: ModelMaker, architecture: str) -> None:
    """A token that may begin a stop string was not handed out, so it is not kept."""
    context = context_of(tiny(architecture), PROMPT)
    (whole,) = context.explore(1, 12, **SAMPLING)
    stop = str(whole.completion)[-6:] + "never"
    run = context.exploration(2, 40, stop=stop, on_token=lambda *_: steps.append(1), **SAMPLING)
    steps: list[int] = []
    branches = run.run()
    check_branches(context, branches)

    told = len(steps)
    for n_told in range(1, told, 9):
        with unchanged(context):
            branches = context.explore(
                2, 40, stop=stop, on_token=after(n_told, context.stop), **SAMPLING
            )
        assert n_told <= sum(len(ids(b)) for b in branches) < told
        check_branches(context, branches)


@pytest.mark.slow
@one_of_each
def test_stop_among_branches_that_are_set_aside(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT, n_ctx=128)
    with unchanged(context):
        branches = context.explore(6, on_token=after(90, context.stop), **SAMPLING)
    lengths = [len(ids(b)) for b in branches]
    assert sum(lengths) >= 90
    assert max(lengths) > min(lengths) > 0
    check_branches(context, branches)


def test_an_interrupt_loses_no_branch(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    main = threading.main_thread().ident
    assert main is not None
    run = context.exploration(
        4, on_token=after(20, lambda: signal.pthread_kill(main, signal.SIGINT)), **SAMPLING
    )
    assert run.branches == []
    with unchanged(context):
        with pytest.raises(KeyboardInterrupt):
            run.run()
        assert [b.completion.finish_reason for b in run.branches] == ["stopped"] * 4
        assert all(len(ids(b)) >= 5 for b in run.branches)
        check_branches(context, run.branches)


@one_of_each
def test_whoever_moves_the_context_ends_the_branches(tiny: ModelMaker, architecture: str) -> None:
    context, kept = context_of(tiny(architecture), PROMPT), context_of(tiny(architecture), PROMPT)
    begun, moved = threading.Event(), threading.Event()

    def move() -> None:
        begun.wait()
        context.rewind(N - 10)
        moved.set()

    mover = threading.Thread(target=move)
    mover.start()
    branches = context.explore(
        3, on_token=after(30, lambda: (begun.set(), moved.wait(0.2))), **SAMPLING
    )
    mover.join()
    assert context.token_count() == N - 10
    assert {b.completion.finish_reason for b in branches} == {"stopped"}
    assert all(len(ids(b)) >= 10 for b in branches)
    check_branches(kept, branches)


@one_of_each
def test_a_callback_that_raises_loses_no_branch(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)

    def fail() -> None:
        raise RuntimeError("no")

    run = context.exploration(3, on_token=after(10, fail), **SAMPLING)
    with unchanged(context):
        with pytest.raises(RuntimeError, match="no"):
            run.run()
        assert [len(ids(b)) for b in run.branches] == [4, 4, 4]
        check_branches(context, run.branches)


@one_of_each
def test_closing_the_context_loses_no_branch(tiny: ModelMaker, architecture: str) -> None:
    context, other = context_of(tiny(architecture), PROMPT), context_of(tiny(architecture), PROMPT)
    branches = context.explore(3, on_token=after(10, context.close), **SAMPLING)
    assert [len(ids(b)) for b in branches] == [4, 4, 4]
    check_branches(other, branches)


@pytest.mark.slow
@one_of_each
@pytest.mark.parametrize("n_held", [0, 1])
def test_a_batch_that_fails_takes_its_tokens_back(
    tiny: ModelMaker, architecture: str, n_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tiny(architecture), PROMPT)
    decoder = context._scheduler.path.memory.decoder
    decode_rows, calls = decoder.decode_rows, []

    def fail(tokens: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(len(tokens))
        if len(calls) == 5:
            raise DecodeError("no memory")
        return decode_rows(tokens, *arguments, **options)

    stop = ["e never", " never"] if n_held else []
    run = context.exploration(4, 30, stop=stop, **SAMPLING)
    with unchanged(context):
        monkeypatch.setattr(decoder, "decode_rows", fail)
        with pytest.raises(DecodeError):
            run.run()
        monkeypatch.undo()
        assert max(len(ids(b)) for b in run.branches) == 4
        check_branches(context, run.branches)
        assert len(ids(context.explore(1, 3)[0])) == 3


def test_a_grammar_that_nothing_continues(tiny: ModelMaker) -> None:
    """No token of the vocabulary has the byte that U+50000 begins with."""
    context = context_of(tiny(), PROMPT)
    run = context.exploration(3, 10, grammar='root ::= "ab" [a-z] "\\U00050000"', **SAMPLING)
    with unchanged(context):
        with pytest.raises(GrammarError, match="no token"):
            run.run()
        assert len(run.branches) == 3
        assert max(len(ids(b)) for b in run.branches) > 0
        check_branches(context, run.branches)
