"""What comes back of answers that were decoded elsewhere is checked as a stranger's file is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from hypothesis import given
from hypothesis import strategies as st
from tasks.explored import KINDS, TOKENS, context_behind, in_worker, task_for

from mullama_nb import Context
from mullama_nb.engine.completion import Token
from mullama_nb.errors import SessionFormatError
from mullama_nb.state.segment import Segment
from mullama_nb.state.segment_file import read_segment_bytes, segment_bytes
from mullama_nb.tasks.exploring import Explored, ExploringTask, RowsNeeded
from mullama_nb.tasks.received import branches_of


@pytest.fixture(scope="module")
def done(tiny: ModelMaker) -> dict[str, tuple[Context, ExploringTask, Explored]]:
    """A context, a task and what came of it, by architecture."""
    found = {}
    for kind in KINDS:
        context = context_behind(tiny(kind))
        task = task_for(context, rows=segment_bytes(context.capture()))
        found[kind] = context, task, in_worker(task)
    return found


@pytest.mark.parametrize("architecture", EVERY)
def test_answers_are_those_of_the_context(tiny: ModelMaker, architecture: str) -> None:
    context = context_behind(tiny(architecture))
    task = task_for(context, rows=segment_bytes(context.capture()))
    branches = [*branches_of(task, in_worker(task), context)]
    local = context.exploration(2, each=task.each, first_sibling=3).run()
    for mine, theirs in zip(branches, local, strict=True):
        assert mine.completion == theirs.completion
        assert mine.completion.tokens == theirs.completion.tokens
        assert (mine.sibling, mine.n_parallel) == (theirs.sibling, theirs.n_parallel)
        assert mine.segment is not None and theirs.segment is not None  # noqa: PT018
        assert mine.segment.address == theirs.segment.address
        logits = []
        for branch in (mine, theirs):
            assert branch.segment is not None
            with context.fork() as twin:
                twin.restore(branch.segment, keep=len(TOKENS))
                logits.append(twin.logits)
        np.testing.assert_array_equal(*logits)


def with_answer(explored: Explored, index: int, **changes: Any) -> Explored:
    answers = [*explored.answers]
    answers[index] = dataclasses.replace(answers[index], **changes)
    return dataclasses.replace(explored, answers=tuple(answers))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_damaged_rows_are_refused(
    done: dict[str, tuple[Context, ExploringTask, Explored]], kind: str, data: st.DataObject
) -> None:
    context, task, explored = done[kind]
    index = data.draw(st.integers(0, 1))
    rows = bytearray(explored.answers[index].rows or b"")
    at = data.draw(st.integers(0, len(rows) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert", "none"])):
        case "flip":
            rows[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del rows[at:]
        case "insert":
            rows[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        case _:
            rows = bytearray()
    with pytest.raises(SessionFormatError, match=f"answer {3 + index}"):
        [*branches_of(task, with_answer(explored, index, rows=bytes(rows)), context)]


def forged(segment: Segment, data: st.DataObject) -> Segment:
    """A sound file of a segment that is another one, in one respect."""
    n = segment.data.size
    kind = data.draw(st.sampled_from(["bytes", "tokens", "start", "settings", "parent", "size"]))
    rows = segment.data.copy()
    match kind:
        case "bytes":  # the structure of the state, or a number that is not finite
            at = data.draw(st.integers(0, n - 1))
            width = data.draw(st.integers(1, 8))
            rows[at : at + width] = 255
            return dataclasses.replace(segment, data=rows)
        case "tokens":
            return dataclasses.replace(segment, tokens=(*segment.tokens[:-1], 300))
        case "start":
            return dataclasses.replace(segment, start=segment.start + 1)
        case "settings":
            return dataclasses.replace(segment, settings="f" * 32)
        case "parent":
            return dataclasses.replace(segment, parent="a" * 32)
        case _:
            return dataclasses.replace(segment, data=rows[: data.draw(st.integers(0, n - 1))])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_rows_with_a_sound_checksum_that_are_not_the_answers_are_refused(
    done: dict[str, tuple[Context, ExploringTask, Explored]], kind: str, data: st.DataObject
) -> None:
    context, task, explored = done[kind]
    segment = read_segment_bytes(explored.answers[0].rows or b"", "")
    other = forged(segment, data)
    if other.address == segment.address:
        return
    # The address that comes with the rows is kept: an honest worker, and rows that were exchanged.
    with pytest.raises(SessionFormatError, match=r"answer 3|segment"):
        [*branches_of(task, with_answer(explored, 0, rows=segment_bytes(other)), context)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_lies_has_its_state_checked(
    done: dict[str, tuple[Context, ExploringTask, Explored]], kind: str
) -> None:
    context, task, explored = done[kind]
    segment = read_segment_bytes(explored.answers[0].rows or b"", "")
    header = segment.data.copy()
    header[8:12] = 255  # how many cells, or streams, there are
    infinite = segment.data.copy()
    infinite[-4:] = np.array([0x7C00, 0x7C00], "<u2").view(np.uint8)  # f16; f32 has no bits there
    lies = [dataclasses.replace(segment, data=header)]
    if kind in ("llama", "gemma3"):
        lies.append(dataclasses.replace(segment, data=infinite))
    else:
        lies.append(dataclasses.replace(segment, logits=None))
        assert segment.logits is not None
        lies.append(dataclasses.replace(segment, logits=segment.logits * np.float32("nan")))
        lies.append(dataclasses.replace(segment, logits=segment.logits[:-1]))
    for lie in lies:
        said = with_answer(explored, 0, rows=segment_bytes(lie), address=lie.address)
        with pytest.raises(SessionFormatError):
            [*branches_of(task, said, context)]


BAD_TOKENS: Sequence[Any] = [
    None,
    [Token(20, "a", 0.0)],
    (Token(-1, "a", 0.0),),
    (Token(512, "a", 0.0),),
    (Token(20, "a", float("nan")),),
    (Token(20, b"a", 0.0),),  # type: ignore[arg-type]
    ((20, "a", 0.0, "text"),),
    (Token(20, "a", 0.0),) * 217,  # more than there are cells
]


@pytest.mark.parametrize(
    "change",
    [
        *({"tokens": tokens} for tokens in BAD_TOKENS),
        {"text": None},
        {"finish_reason": "tired"},
        {"seconds": "3"},
        {"sampler_states": ((float("inf"),),)},
        {"sampler_states": [(1.0,)]},
        {"address": None},
    ],
    ids=repr,
)
def test_values_that_cannot_be_are_refused(
    done: dict[str, tuple[Context, ExploringTask, Explored]], change: dict[str, Any]
) -> None:
    context, task, explored = done["llama"]
    with pytest.raises(SessionFormatError, match="answer 4 came back damaged"):
        [*branches_of(task, with_answer(explored, 1, **change), context)]


def test_what_is_no_result_is_refused(
    done: dict[str, tuple[Context, ExploringTask, Explored]],
) -> None:
    context, task, explored = done["llama"]
    replaced = dataclasses.replace
    for said in (
        None,
        RowsNeeded(task.prefix.address, ("here", 1)),
        replaced(explored, answers=explored.answers[:1]),
        replaced(explored, n_parallel=3),
        replaced(explored, metadata=None),
        replaced(explored, metadata={"settings": {}}),
    ):
        with pytest.raises(SessionFormatError, match="worker"):
            [*branches_of(task, said, context)]


def test_rows_of_another_environment_are_left_alone(
    done: dict[str, tuple[Context, ExploringTask, Explored]],
) -> None:
    context, task, explored = done["llama"]
    environment = explored.metadata["environment"] | {"build": "another one"}
    moved = dataclasses.replace(
        explored, metadata={**explored.metadata, "environment": environment}
    )
    branches = [*branches_of(task, with_answer(moved, 0, rows=b"never looked at"), context)]
    assert [branch.segment for branch in branches] == [None, None]
    assert all(branch.completion.tokens for branch in branches)
