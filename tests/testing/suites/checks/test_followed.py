"""Which part of a recording a conversation follows, found by brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.testing.suites.checks.followed import followed
from mullama_nb.testing.walk import Entry


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    entries: list[Entry] = []
    for i in range(draw(st.integers(0, 7))):
        parent = draw(st.sampled_from([None, *(entry.id for entry in entries)]))
        tokens = tuple(draw(st.lists(st.integers(0, 2), max_size=3)))
        entries.append(Entry(f"{i:04x}", parent, tokens, "", {}, draw(st.booleans())))
    return entries


def path(entry: Entry, entries: list[Entry]) -> list[Entry]:
    by_id = {each.id: each for each in entries}
    way = [entry]
    while way[-1].parent is not None:
        way.append(by_id[way[-1].parent])
    return way[::-1]


def tokens_of(way: list[Entry]) -> tuple[int, ...]:
    return tuple(token for entry in way for token in entry.tokens)


@given(trees(), st.lists(st.integers(0, 2), min_size=1, max_size=9))
def test_the_longest_common_beginning_is_followed(entries: list[Entry], held: list[int]) -> None:
    tokens = tuple(held)
    way = followed(entries, tokens)
    common = []
    for entry in entries:
        there = tokens_of(path(entry, entries))
        common.append(
            next((i for i, (a, b) in enumerate(zip(there, tokens, strict=False)) if a != b),
                 min(len(there), len(tokens)))
        )  # fmt: skip
    assert way.n_common == max(common, default=0)
    kept = {entry.id for entry in way.entries}
    assert all(entry.parent is None or entry.parent in kept for entry in way.entries)
    assert [entry for entry in entries if entry.id in kept] == [*way.entries]  # parents first
    reaching = {entry.id for entry, n in zip(entries, common, strict=True) if n == len(tokens)}
    if reaching:
        assert way.parted is None
        assert reaching <= kept
        # Nothing is kept but what holds all of it, and what that follows from.
        needed = {each.id for entry in entries if entry.id in reaching
                  for each in path(entry, entries)}  # fmt: skip
        assert kept == needed
    elif way.parted is not None:
        there, here = way.parted
        assert here == tokens[way.n_common :][:8]
        assert not kept
        going_on = [tokens_of(path(entry, entries))[way.n_common :] for entry in entries]
        goes_on = any(n == way.n_common and rest for n, rest in zip(common, going_on, strict=True))
        assert bool(there) == goes_on
        assert there[:1] != here[:1]
    else:  # what was answered is another: the replay says what that means
        parting = {
            entry.id
            for entry, n in zip(entries, common, strict=True)
            if n == way.n_common and entry.is_generated and entry.tokens
        }
        assert kept & parting
