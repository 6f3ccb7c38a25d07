"""A view is told once that nobody hears it any more, and not while a kernel is busy or away."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from javascript import JavaScript

LIFE = Path(__file__).with_name("life.js")
ENDS = ("restarting", "autorestarting", "dead")
EVENTS = ("busy", "idle", "unknown", "connecting", "starting", *ENDS)
RESTARTED = "The kernel was restarted: run the cell again."
SHUT_DOWN = "The kernel was shut down: run the cell again."


@given(
    comms=st.none() | st.lists(st.sampled_from(["own", "other"])),
    events=st.lists(st.sampled_from(EVENTS), max_size=8),
)
def test_a_view_is_told_once_that_its_kernel_ended(
    javascript: JavaScript, comms: list[str] | None, events: list[str]
) -> None:
    expected = [] if comms is not None and "own" in comms else [RESTARTED]
    if comms is None:
        expected = [SHUT_DOWN]
    n = 0
    seen = []
    for event in [None, *events]:
        if event in ENDS and not expected:
            expected = [SHUT_DOWN if event == "dead" else RESTARTED]
        n += not expected
        seen.append([expected, n])
    n_left = 0  # listeners, once the view is gone
    assert javascript.call(LIFE, "toldAfter", comms, "own", events) == [seen, n_left]


@pytest.mark.parametrize("manager", [None, {}, {"kernel": {}}])
def test_a_page_that_does_not_tell_is_heard(
    javascript: JavaScript, manager: dict[str, object] | None
) -> None:
    assert javascript.call(LIFE, "toldBy", *([] if manager is None else [manager])) == [[], 1]
