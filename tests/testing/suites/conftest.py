"""What is counted while a suite runs."""

from __future__ import annotations

from typing import Any

import llama_cpp
import pytest


class Counter:
    """Tokens that llama.cpp was given to decode."""

    n_tokens = 0


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter, decode = Counter(), llama_cpp.llama_decode

    def count(handle: Any, batch: Any) -> int:
        counter.n_tokens += batch.n_tokens
        status: int = decode(handle, batch)
        return status

    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    return counter
