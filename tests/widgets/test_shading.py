"""What shades tokens, and what the legend says of it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript

SHADING = FRONT_END / "shading.js"
CHANCE = st.one_of(st.none(), st.floats(1e-6, 1.0))
TOKENS = st.lists(st.tuples(st.text(max_size=4), CHANCE, st.just(0)), max_size=12)


@given(tokens=TOKENS, data=st.data())
def test_shades_are_from_none_to_full(
    javascript: JavaScript, tokens: list[tuple[str, float | None, int]], data: st.DataObject
) -> None:
    n = len(tokens)
    entropy = data.draw(st.one_of(st.none(), st.lists(st.floats(0, 11), min_size=n, max_size=n)))
    chances = [chance for _, chance, _ in tokens]
    for kind in ("probability", "surprisal", "entropy"):
        found = javascript.call(SHADING, "shadesOf", kind, tokens, entropy)
        assert len(found["shades"]) == len(found["words"]) == n
        assert all(shade is None or 0 <= shade <= 1 for shade in found["shades"])
        if kind == "entropy":
            assert all((shade is None) == (entropy is None) for shade in found["shades"])
            continue
        pairs = [(c, s) for c, s in zip(chances, found["shades"], strict=True) if c is not None]
        assert [s is None for s in found["shades"]] == [c is None for c in chances]
        order = [shade for _, shade in sorted(pairs, reverse=True)]
        assert order == sorted(order)  # the less likely, the stronger
        assert ("nats" in found["most"]) == (kind == "surprisal")


def test_the_strongest_shade_is_in_the_legend(javascript: JavaScript) -> None:
    tokens = [["a", 0.5, 0], ["b", 0.25, 0], ["c", None, 0]]
    found = javascript.call(SHADING, "shadesOf", "surprisal", tokens, None)
    assert (found["least"], found["most"]) == ("0", f"{math.log(4):.2f} nats")
    assert found["shades"] == [0.5, 1, None]
    assert found["words"] == ["50 %, surprisal 0.69 nats", "25 %, surprisal 1.39 nats", "not drawn"]
    found = javascript.call(SHADING, "shadesOf", "entropy", tokens, [1.0, 2.0, 0.5])
    assert found["most"] == "2.00 nats"
    assert found["words"][0].endswith("entropy 1.00 nats")
