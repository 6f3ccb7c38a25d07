"""The order of a suite's cases: every edge of the tree of their tokens is evaluated once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.testing.suites.ordering import ordered

# Few tokens and short paths, so that many have beginnings in common.
PATHS = st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), max_size=12)


def trie(paths: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """The nodes of the tree, each named by the way to it."""
    return {path[:n] for path in paths for n in range(1, len(path) + 1)}


def common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


@given(PATHS)
def test_going_from_path_to_path_evaluates_each_node_once(paths: list[tuple[int, ...]]) -> None:
    order = ordered(paths)
    assert sorted(order.indices) == [*range(len(paths))]
    n, held = 0, tuple[int, ...]()
    for index in order.indices:
        n += len(paths[index]) - common(held, paths[index])
        held = paths[index]
    assert n == order.n_evaluated == len(trie(paths))
    assert order.n_alone == sum(map(len, paths))


@given(PATHS)
def test_forks_are_where_other_paths_part_or_end(paths: list[tuple[int, ...]]) -> None:
    order = ordered(paths)
    for index, path in enumerate(paths):
        others = paths[:index] + paths[index + 1 :]
        expected = {common(path, other) for other in others} - {0}
        assert order.forks[index] == tuple(sorted(expected))


@given(PATHS)
def test_what_is_given_first_comes_first(paths: list[tuple[int, ...]]) -> None:
    order = ordered(paths)
    places = {index: place for place, index in enumerate(order.indices)}
    for index, path in enumerate(paths):
        for other in range(index):
            if paths[other] == path:
                assert places[other] < places[index]
    # Whichever group of paths with one beginning is given first is gone through first.
    firsts = [paths[index][:1] for index in order.indices if paths[index]]
    seen = list(dict.fromkeys(firsts))
    assert seen == list(dict.fromkeys(path[:1] for path in paths if path))


@pytest.mark.slow
def test_a_long_path_is_no_recursion() -> None:
    paths = [tuple(range(n)) for n in range(2000)]
    order = ordered(paths[::-1])
    assert order.n_evaluated == 1999
    assert order.indices[0] == 1999
