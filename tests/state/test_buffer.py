"""Memory for large files is as good as any other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mullama_nb.state import buffer
from mullama_nb.state.buffer import empty_bytes


@pytest.mark.parametrize("n_bytes", [0, 1, 4095, (1 << 20) - 1, 1 << 20, (9 << 20) + 5])
@pytest.mark.parametrize("huge_pages", [True, False])
def test_bytes_can_be_written_and_read(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, huge_pages: bool
) -> None:
    if not huge_pages:
        monkeypatch.setattr(buffer, "_IS_LINUX", False)
    data, other = empty_bytes(n_bytes), empty_bytes(n_bytes)
    assert (data.size, data.dtype.name) == (n_bytes, "uint8")
    expected = np.random.default_rng(n_bytes).integers(0, 256, n_bytes, np.uint8)
    other[:] = 0
    data[:] = expected
    assert not other.any()
    view = data[n_bytes // 2 :]
    del data  # the memory stays as long as something looks at it
    assert view.tobytes() == expected[n_bytes // 2 :].tobytes()


def test_too_much_is_said_before_it_is_used() -> None:
    with pytest.raises(MemoryError):
        empty_bytes(1 << 62)


@pytest.mark.skipif(not buffer._IS_LINUX, reason="memory is not kept here")
def test_memory_is_used_again_once_nothing_looks_at_it() -> None:
    first = empty_bytes(3 << 20)
    address = first.ctypes.data
    del first
    part = memoryview(empty_bytes(3 << 20)[100:200])
    assert np.frombuffer(part, np.uint8).ctypes.data == address + 100
    assert not address <= empty_bytes(3 << 20).ctypes.data < address + (3 << 20)
    assert part.nbytes == 100
    first = empty_bytes(3 << 20)
    address = first.ctypes.data
    del first
    again = empty_bytes(2 << 20, 12)
    assert (again.ctypes.data, again.size) == (address + 12, 2 << 20)


@pytest.mark.skipif(not buffer._IS_LINUX, reason="memory is not kept here")
def test_very_much_memory_is_given_back() -> None:
    empty_bytes(65 << 20)
    assert not buffer._latest or len(buffer._latest[0]) <= 64 << 20


@pytest.mark.slow
def test_no_two_arrays_share_memory() -> None:
    """Whatever is kept, dropped and looked at in part."""
    choice, held = random.Random(0), []
    for number in range(1, 200):
        data = empty_bytes(choice.randrange(1 << 20, 4 << 20), choice.randrange(4096))
        data[:] = number
        held.append((number, choice.choice([data, data[5:-5], data[::100].view()])))
        del data
        while len(held) > choice.randrange(6):
            kept, array = held.pop(choice.randrange(len(held)))
            assert (array == kept).all()
            del array
