"""Branches are decoded together, end one by one, and go on exactly; the context never notices."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, assert_twins, context_of, words

from mullama_nb import Context, Model
from mullama_nb.engine.branches import Branch
from mullama_nb.engine.sampler import Sampler, log_probability
from mullama_nb.errors import ContextError, DecodeError, GrammarError, ParameterError
from mullama_nb.state.layout import SequenceState

PROMPT = words(70)
N = len(PROMPT)
SAMPLING: dict[str, Any] = {"temperature": 1.0, "seed": 1}

every = pytest.mark.parametrize("architecture", EVERY)
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


@contextmanager
def unchanged(context: Context) -> Iterator[None]:
    """Check that tokens, rows in their cells, logits and watermark are as before, to the bit."""
    context.mark()
    tokens, rows, logits = context.tokens, context.capture().data, context.logits
    yield
    assert context.tokens == tokens
    assert context.watermark == len(tokens)
    np.testing.assert_array_equal(context.capture().data, rows)
    np.testing.assert_array_equal(context.logits, logits)


def ids(branch: Branch) -> tuple[int, ...]:
    return tuple(token.id for token in branch.completion.tokens)


def check_segment(context: Context, branch: Branch, start: int = N) -> None:
    """Check that the segment is that of the tokens, its rows sorted and complete."""
    segment = branch.segment
    if segment is None:
        assert not branch.completion.tokens
        return
    assert (segment.start, segment.tokens) == (start, ids(branch))
    assert segment.whole == (context.memory_kind == "snapshot")
    state = SequenceState(segment.data, context.layout[0])
    assert state.is_sorted()
    if not segment.whole:
        assert state.covers(start, segment.stop)


def check_branches(context: Context, branches: list[Branch], tolerance: float = 0.05) -> None:
    """Check that every branch is right, and goes on the same however often it is restored."""
    start, prompt = context.token_count(), context.capture()
    with context.fork() as once, context.fork() as again, context.fork() as evaluated:
        for branch in branches:
            check_segment(context, branch, start)
            if branch.segment is None:
                continue
            for restored in (once, again):
                restored.restore(branch.segment, keep=start)
            evaluated.restore(prompt)
            evaluated.evaluate(ids(branch))
            assert once.tokens == evaluated.tokens
            np.testing.assert_allclose(once.logits, evaluated.logits, atol=tolerance)
            assert_twins(once, again, min(8, once.n_ctx - once.token_count()))


# -- the context --------------------------------------------------------------------------------


@every
def test_the_context_is_as_it_was(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    for one in (context, twin):
        one.generate(None, 5, seed=2)
    with unchanged(context):
        context.explore(10, 30, **SAMPLING)
    assert_twins(context, twin)


def test_it_is_as_it_was_beyond_256_cells(tiny: ModelMaker) -> None:
    context, twin = (context_of(tiny(), words(300), n_ctx=1024) for _ in range(2))
    with unchanged(context):
        context.explore(8, 60, stop_tokens=range(100, 160), **SAMPLING)
    assert_twins(context, twin, 60)


def test_logits_that_nobody_asked_for_are_exact(tiny: ModelMaker) -> None:
    context, twin = (context_of(tiny(), PROMPT) for _ in range(2))
    for one in (context, twin):
        one.rewind(50)  # inside the prefill, without logits
    context.explore(3, 4)
    assert_twins(context, twin)


@one_of_each
def test_somebody_may_look_meanwhile(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    rows = context.capture().data
    undisturbed = [ids(b) for b in context.explore(4, 20, **SAMPLING)]

    def look(_branch: int, _token: object) -> None:
        assert context.token_count() == N
        assert context.tokens == tuple(PROMPT)
        np.testing.assert_array_equal(context.capture().data, rows)

    branches = context.explore(4, 20, on_token=look, **SAMPLING)
    assert [ids(b) for b in branches] == undisturbed
    check_branches(context, branches)


def test_exploring_ends_a_stream(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    stream = context.stream(None, 10)
    next(stream)
    assert len(context.explore(2, 3)) == 2
    assert context.token_count() == N + 1
    assert list(stream) == []


# -- the branches -------------------------------------------------------------------------------


@every
def test_branches_go_on_exactly(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    branches = context.explore(8, 20, **SAMPLING)
    assert [b.index for b in branches] == list(range(8))
    assert [b.sibling for b in branches] == list(range(8))
    assert len({ids(b) for b in branches}) > 1
    for branch in branches:
        completion = branch.completion
        assert (completion.finish_reason, len(completion.tokens)) == ("length", 20)
        assert completion == "".join(token.text for token in completion.tokens)
        assert (completion.reused, completion.evaluated) == (N, 0)
        assert completion.seconds > 0
    check_branches(context, branches)


@every
def test_a_branch_alone_is_what_generate_would_say(tiny: ModelMaker, architecture: str) -> None:
    """One at a time, branches are decoded in the cells that a generation takes."""
    context = context_of(tiny(architecture), PROMPT, n_parallel=1)
    options = {"repetition_penalty": 1.2, "stop": ["the", "a r", "\n"], **SAMPLING}
    with unchanged(context):
        branches = context.explore(12, 30, first_sibling=3, **options)
    assert len({b.completion.finish_reason for b in branches}) == 2
    for branch in branches:
        with context.fork() as alone:
            completion = alone.generate(None, 30, sibling=branch.sibling, **options)
            assert branch.completion == completion
            assert branch.completion.tokens == completion.tokens
            assert branch.completion.finish_reason == completion.finish_reason
            if branch.segment is not None:
                rows = alone.capture(N).data
                assert branch.segment.data.size == rows.size
    check_branches(context, branches)


@every
def test_draws_are_those_of_siblings(tiny: ModelMaker, architecture: str) -> None:
    """Batches differ in the last bits, so now and then a draw at the edge of two tokens parts.

    Each draw is therefore made again behind the branch's own tokens, evaluated one by one.
    """
    precise = {"kv_cache_type": "f32", "flash_attention": False}
    context = context_of(tiny(architecture), PROMPT, **precise)
    n_draws = n_same = n_same_as_next = 0
    for branch in context.explore(8, 40, first_sibling=2, **SAMPLING):
        sampling = branch.completion.sampling
        own, following = (
            Sampler(context.model.vocabulary, sampling, sibling, PROMPT, context.n_ctx)
            for sibling in (branch.sibling, branch.sibling + 1)
        )
        with context.fork() as alone:
            for token in branch.completion.tokens:
                logits, position = alone.logits, alone.token_count()
                assert token.logprob == pytest.approx(log_probability(logits, token.id), abs=0.01)
                n_draws += 1
                n_same += own.choose(logits, position) == token.id
                n_same_as_next += following.choose(logits, position) == token.id
                alone.evaluate([token.id])
    assert n_draws == 8 * 40
    assert n_same > 0.95 * n_draws
    assert n_same_as_next < 0.6 * n_draws


def test_a_drawn_seed_is_the_same_for_all_and_recorded(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT, n_parallel=1)
    branches = context.explore(3, 8, temperature=1.0, seed=None)
    seeds = {b.completion.sampling.seed for b in branches}
    assert len(seeds) == 1
    for branch in branches:
        with context.fork() as alone:
            again = alone.generate(
                None, 8, sampling=branch.completion.sampling, sibling=branch.sibling
            )
        assert again == branch.completion


@every
def test_branches_end_one_by_one(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    with unchanged(context):
        branches = context.explore(20, 90, stop_tokens=range(100, 110), **SAMPLING)
    lengths = {len(ids(b)) for b in branches}
    assert len(lengths) > 5
    assert max(lengths) > 32  # longer than the window, while cells of others were reused
    for branch in branches:
        assert not set(range(100, 110)).intersection(ids(branch))
        assert branch.completion.finish_reason == ("length" if len(ids(branch)) == 90 else "stop")
    check_branches(context, branches)


@every
def test_stop_strings_are_no_part_of_a_branch(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    texts = [str(b.completion) for b in context.explore(6, 30, **SAMPLING)]
    stops = [text[12:17] for text in texts]
    with unchanged(context):
        branches = context.explore(6, 30, stop=stops, **SAMPLING)
    assert any(b.completion.finish_reason == "stop" for b in branches)
    for branch in branches:
        assert not any(stop in branch.completion for stop in stops)
    check_branches(context, branches)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_the_models_own_end(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture, ends=True), PROMPT)
    branches = context.explore(12, 200, temperature=3.0, top_k=0, top_p=1.0, min_p=0.0)
    assert "stop" in {b.completion.finish_reason for b in branches}
    for branch in branches:
        assert not any(context.model.vocabulary.is_end(token) for token in ids(branch))
    check_branches(context, branches)


def test_a_grammar_holds_for_every_branch(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    with unchanged(context):
        branches = context.explore(6, 20, grammar='root ::= ("yes" | "no") "!"', **SAMPLING)
    assert {b.completion for b in branches} == {"yes!", "no!"}
    assert {b.completion.finish_reason for b in branches} == {"stop"}
    check_branches(context, branches)


def test_tokens_are_told_as_they_come(tiny: ModelMaker) -> None:
    told: list[list[int]] = [[] for _ in range(5)]
    context = context_of(tiny(), PROMPT, n_parallel=2)
    branches = context.explore(
        5, 12, on_token=lambda index, token: told[index].append(token.id), **SAMPLING
    )
    assert [tuple(tokens) for tokens in told] == [ids(b) for b in branches]


# -- room ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_parallel", "n_batch"), [(3, 512), (1, 512), (8, 3), (253, 512)])
def test_no_more_branches_live_than_there_is_room_for(
    tiny: ModelMaker, n_parallel: int, n_batch: int
) -> None:
    steps: list[int] = []
    context = context_of(tiny(), PROMPT, n_parallel=n_parallel, n_batch=n_batch, n_ubatch=n_batch)
    branches = context.explore(10, 8, on_token=lambda index, _: steps.append(index), **SAMPLING)
    assert all(len(ids(b)) == 8 for b in branches)
    together = min(n_parallel, n_batch, 10)
    assert steps[:together] == list(range(together))
    assert together == 10 or steps[together] == 0
    check_branches(context, branches)


@pytest.mark.parametrize("n_parallel", [254, 255])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba"])
def test_as_many_sequences_as_llama_cpp_has(
    tiny: ModelMaker, architecture: str, n_parallel: int
) -> None:
    context = context_of(tiny(architecture), PROMPT, n_parallel=n_parallel)
    assert len(context.explore(256, 1)) == 256


@every
def test_branches_are_set_aside_where_cells_run_out(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT, n_ctx=128)
    with unchanged(context):
        branches = context.explore(6, **SAMPLING)
    for branch in branches:
        assert branch.completion.finish_reason == "context_full"
        assert len(ids(branch)) == 128 - N
    # The last cells are those of another order than an undisturbed evaluation's.
    check_branches(context, branches)


@one_of_each
def test_a_full_context_has_no_branches(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), words(128), n_ctx=128)
    for branch in context.explore(3):
        assert (branch.completion.finish_reason, branch.segment) == ("context_full", None)
        assert branch.completion == ""


def test_no_tokens_at_all(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    for branch in context.explore(3, 0):
        assert (branch.completion.finish_reason, branch.segment) == ("length", None)


# -- interruptions ------------------------------------------------------------------------------


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
@pytest.mark.usefixtures("no_deadlock")
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


@one_of_each
@pytest.mark.parametrize("n_held", [0, 1])
def test_a_batch_that_fails_takes_its_tokens_back(
    tiny: ModelMaker, architecture: str, n_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tiny(architecture), PROMPT)
    memory = context._runner.path.memory
    decode_rows, calls = memory.decode_rows, []

    def fail(tokens: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(len(tokens))
        if len(calls) == 5:
            raise DecodeError("no memory")
        return decode_rows(tokens, *arguments, **options)

    stop = ["e never", " never"] if n_held else []
    run = context.exploration(4, 30, stop=stop, **SAMPLING)
    with unchanged(context):
        monkeypatch.setattr(memory, "decode_rows", fail)
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


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"n": True},
        {"n": 1.5},
        {"n": 1, "first_sibling": -1},
        {"n": 1, "max_tokens": -1},
        {"n": 1, "stop": ""},
        {"n": 1, "temperature": -1},
    ],
)
def test_wrong_arguments_fail_when_they_are_given(tiny: ModelMaker, options: Any) -> None:
    context = context_of(tiny(), PROMPT)
    with pytest.raises(ParameterError):
        context.exploration(**options)


def test_an_exploration_runs_once(tiny: ModelMaker) -> None:
    run = context_of(tiny(), PROMPT).exploration(1, 1)
    run.run()
    with pytest.raises(ContextError, match="once"):
        run.run()


def test_an_empty_context_has_no_branches(tiny: ModelMaker) -> None:
    run = context_of(tiny()).exploration(1, 1)
    with pytest.raises(ContextError, match="empty"):
        run.run()
    assert run.branches == []


def test_a_grammar_that_cannot_be_read(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    with unchanged(context), pytest.raises(GrammarError):
        context.explore(2, 5, grammar="root ::= missing")


# -- a real model -------------------------------------------------------------------------------


def test_a_real_model_explores(smollm2: Model) -> None:
    with context_of(smollm2, n_ctx=512) as context:
        context.evaluate(messages=[{"role": "user", "content": "Name a colour."}])
        with unchanged(context):
            branches = context.explore(5, 24, stop=[".", "\n"], temperature=1.0)
        assert len({str(b.completion) for b in branches}) > 1
        assert all(str(b.completion).strip() for b in branches)
        check_branches(context, branches, tolerance=1.0)
