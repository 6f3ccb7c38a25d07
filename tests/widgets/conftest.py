"""Fixtures of the widgets' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from javascript import JavaScript


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaScript]:
    """The widgets' scripts, to be called from Python."""
    process = JavaScript(tmp_path_factory.mktemp("javascript"))
    yield process
    process.close()
