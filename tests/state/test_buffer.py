"""Memory for large files is as good as any other."""

from __future__ import annotations

import numpy as np
import pytest

from mullama_nb.state import buffer
from mullama_nb.state.buffer import empty_bytes


@pytest.mark.parametrize("n_bytes", [0, 1, 4095, (4 << 20) - 1, 4 << 20, (9 << 20) + 5])
@pytest.mark.parametrize("huge_pages", [True, False])
def test_bytes_can_be_written_and_read(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, huge_pages: bool
) -> None:
    if not huge_pages:
        monkeypatch.setattr(buffer, "_HUGE_PAGES", None)
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
