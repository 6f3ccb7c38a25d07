"""No changed byte of a file of ours is accepted, and no shortened file; the context lives on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from state.forge import boundaries, take_apart
from state.helper import STRUCTURES, ModelMaker, context_of, some_tokens

from mullama_nb.errors import SessionError, SessionFormatError

TOKENS = (20, 21, 22)
KINDS = [(name, True) for name in ("llama", "qwen2vl", "gemma3", "lfm2", "lfm2swa", "mamba")] + [
    ("llama", False)
]
kinds = pytest.mark.parametrize(("architecture", "flash_attention"), KINDS)


@pytest.mark.slow
@kinds
def test_no_changed_byte_and_no_shortened_file_is_accepted(
    tiny: ModelMaker, tmp_path: Path, architecture: str, flash_attention: bool
) -> None:
    path = tmp_path / "a.session"
    model = tiny(architecture, n_layer=2, n_vocab=300)
    with context_of(model, flash_attention=flash_attention) as context:
        context.evaluate(TOKENS)
        context.save_session(path)
        honest = path.read_bytes()
        logits = context.logits.tobytes()

        def refused(data: bytes) -> None:
            path.write_bytes(data)
            with pytest.raises(SessionError):
                context.load_session(path)

        edges = boundaries(honest, context.layout[0])
        chance = np.random.default_rng(0)
        sample = set(chance.integers(0, len(honest), 300).tolist())
        near = {at + i for at in edges for i in (-1, 0, 1, 2, 3)} & set(range(len(honest)))
        for at in sorted(near | sample):
            flip = 1 << int(chance.integers(8))
            refused(honest[:at] + bytes([honest[at] ^ flip]) + honest[at + 1 :])
        for at in sorted({*edges, *sample}):
            if at < len(honest):
                refused(honest[:at])
        for at in edges:  # a byte that was lost, and one too many
            refused(honest[:at] + b"\0" + honest[at:])
            if at < len(honest):
                refused(honest[:at] + honest[at + 1 :])

        assert context.tokens == TOKENS
        assert context.logits.tobytes() == logits
        path.write_bytes(honest)
        context.load_session(path)
        assert context.logits.tobytes() == logits


@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3", "lfm2", "jamba", "lfm2swa"])
def test_a_trailer_that_is_cut_off_is_missed(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    """Cut exactly where the state ends it would be one of llama.cpp's files, but for our mark."""
    path = tmp_path / "a.session"
    with context_of(tiny(architecture)) as context:
        context.evaluate(some_tokens(40))
        context.save_session(path)
        data = path.read_bytes()
        state_end = len(data) - 72 - len(take_apart(data).logits) - len(take_apart(data).metadata)
        for n_bytes in (state_end, state_end + 1, len(data) - 1, len(data) - 8):
            path.write_bytes(data[:n_bytes])
            with pytest.raises(SessionFormatError, match="does not end as it should"):
                context.load_session(path)


@pytest.mark.parametrize("architecture", ["llama", "qwen2vl", "gemma3"])
def test_a_mark_in_any_cell_is_enough(tiny: ModelMaker, tmp_path: Path, architecture: str) -> None:
    """The first cell's mark was lost with the trailer: the others tell."""
    path = tmp_path / "a.session"
    with context_of(tiny(architecture)) as context:
        context.evaluate(some_tokens(40))
        context.save_session(path)
        parts = take_apart(path.read_bytes())
        width = STRUCTURES[architecture].cell_bytes
        data = bytearray(path.read_bytes()[: 12 + 4 * 40 + len(parts.state)])
        for cell in range(2):
            at = 12 + 4 * 40 + 8 + cell * width + width - 4
            data[at : at + 4] = bytes(4)
        path.write_bytes(data)
        with pytest.raises(SessionFormatError, match="its trailer is missing"):
            context.load_session(path)
