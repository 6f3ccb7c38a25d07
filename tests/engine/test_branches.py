"""Branches are decoded together, end one by one, and go on exactly; the context never notices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.branching import PROMPT, SAMPLING, N, check_branches, every, ids, one_of_each, unchanged
from engine.helpers import assert_twins, context_of, words

from mullama_nb import Model
from mullama_nb.engine.sampling.sampler import Sampler, log_probability
from mullama_nb.errors import ContextError, GrammarError, ParameterError

# -- the context --------------------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@every
@pytest.mark.parametrize("n_parallel", [1, 3, 8])
def test_exact_branches_are_what_generate_would_say(
    tiny: ModelMaker, architecture: str, n_parallel: int
) -> None:
    """To the bit, behind prefills longer than the window, a batch and 256 cells, and beyond it."""
    sizes = {"n_ctx": 1024, "n_batch": 64, "n_ubatch": 64}
    context = context_of(tiny(architecture), words(290), n_parallel=n_parallel, **sizes)
    context.generate(None, 7, seed=4)
    start = context.token_count()
    options = {"stop": ["the", "a r", "\n"], "stop_tokens": range(100, 104), **SAMPLING}
    with unchanged(context):
        branches = context.explore(5, 45, first_sibling=2, exact=True, **options)
    assert len({ids(branch) for branch in branches}) == 5
    assert "stop" in {branch.completion.finish_reason for branch in branches}
    for branch in branches:
        assert branch.n_parallel == 1
        with context.fork() as alone:
            completion = alone.generate(None, 45, sibling=branch.sibling, **options)
            assert branch.completion.tokens == completion.tokens  # with their probabilities
            if branch.segment is None:
                continue
            rows = alone.capture(start)
            np.testing.assert_array_equal(branch.segment.data, rows.data)
            with context.fork() as restored:
                restored.restore(branch.segment, keep=start)
                assert_twins(restored, alone, 8)


def test_branches_say_how_many_shared_a_batch(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT, n_parallel=3)
    assert {branch.n_parallel for branch in context.explore(5, 4)} == {3}
    assert {branch.n_parallel for branch in context.explore(2, 4)} == {2}
    assert {branch.n_parallel for branch in context.explore(5, 4, exact=True)} == {1}
    with pytest.raises(ParameterError, match="exact must be a bool, not 'yes'"):
        context.explore(2, 4, exact="yes")  # type: ignore[arg-type]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("n_parallel", [254, 255])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba"])
def test_as_many_sequences_as_llama_cpp_has(
    tiny: ModelMaker, architecture: str, n_parallel: int
) -> None:
    context = context_of(tiny(architecture), PROMPT, n_parallel=n_parallel)
    assert len(context.explore(256, 1)) == 256


@pytest.mark.slow
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


def test_an_exploration_may_be_told_its_first_ordinal_when_it_runs(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    later = context.exploration(2, 12, exact=True, **SAMPLING)
    with pytest.raises(ParameterError, match="first_sibling=-1"):
        later.run(first_sibling=-1)
    told = context.explore(2, 12, exact=True, first_sibling=5, **SAMPLING)
    assert list(map(ids, later.run(first_sibling=5))) == list(map(ids, told))
    assert later.request.first_sibling == 5
