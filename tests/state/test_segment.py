"""A segment's address is its content, and a cut changes no byte of its rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from state.helper import STRUCTURES, ModelMaker, context_of, some_tokens

from mullama_nb.state.layout import SequenceState
from mullama_nb.state.segment import Segment

ROWS = np.arange(30, dtype=np.uint8)


def segment(**changes: object) -> Segment:
    plain = Segment(5, (1, 2, 3), ROWS, "settings", "parent")
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_equal_contents_have_equal_addresses() -> None:
    assert segment().address == segment(data=ROWS.copy(), tokens=(1, 2, 3)).address
    assert len(segment().address) == 32
    # Logits follow from the rows, so they are no part of what it is.
    assert segment(logits=np.ones(4, np.float32)).address == segment().address


@pytest.mark.parametrize(
    "changes",
    [
        {"start": 6},
        {"tokens": (1, 2, 4)},
        {"tokens": (1, 2)},
        {"data": ROWS + 1},
        {"data": ROWS[:-1]},
        {"settings": "other"},
        {"settings": "settingsp", "parent": "arent"},
        {"parent": "other"},
        {"parent": None},
        {"whole": True},
    ],
)
def test_other_contents_have_other_addresses(changes: dict[str, object]) -> None:
    assert segment(**changes).address != segment().address


def test_what_it_covers_and_takes() -> None:
    assert segment().stop == 8
    assert segment().n_bytes == 30
    assert segment(logits=np.ones(4, np.float32)).n_bytes == 46
    assert repr(segment()) == f"Segment(5..8, 30 bytes, {segment().address[:8]})"


@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3"])
def test_a_cut_changes_no_row(tiny: ModelMaker, architecture: str) -> None:
    structure = STRUCTURES[architecture]
    tokens = some_tokens(20)
    with context_of(tiny(architecture)) as context:
        context.evaluate(tokens)
        whole = context.capture(4, parent="in front")
        head, tail = whole.split(6, structure)
        assert (head.start, head.stop, tail.start, tail.stop) == (4, 10, 10, 20)
        assert (head.tokens, tail.tokens) == (tuple(tokens[4:10]), tuple(tokens[10:]))
        assert (head.parent, tail.parent) == ("in front", head.address)
        assert head.logits is None
        for piece in (head, tail):
            assert piece.settings == whole.settings
            state = SequenceState(piece.data, structure)
            state.check_positions(piece.start, piece.stop)
            rows = SequenceState(whole.data, structure).slice(piece.start, piece.stop)
            assert piece.data.tobytes() == rows.tobytes()

        expected = context.logits
        context.rewind(4)
        context.restore([head, tail], keep=4)
        assert context.tokens == tuple(tokens)
        assert context.logits.tobytes() == expected.tobytes()


def test_impossible_cuts_are_refused() -> None:
    for n_tokens in (-1, 0, 3, 4):
        with pytest.raises(ValueError, match=f"3 tokens cannot be cut at {n_tokens}"):
            segment().split(n_tokens, STRUCTURES["llama"])
    with pytest.raises(ValueError, match="one state for all tokens"):
        segment(whole=True).split(1, STRUCTURES["lfm2"])
