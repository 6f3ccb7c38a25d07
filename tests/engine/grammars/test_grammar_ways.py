"""Ways to read a text are counted as llama.cpp's own algorithm would follow them."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb.engine.grammars.ways import Alternatives, Item, Ways

REPETITIONS = [(1, 1), (0, 1), (0, None), (1, None), (2, 2), (0, 2), (1, 3)]
ALPHABET = "ab"
LENGTH = 4

names = st.sampled_from(["x", "y"])
texts = st.sampled_from(['"a', '"b', '"ab', "[ab]", "[a-b]", "[^b]"])


def items(known: st.SearchStrategy[str] | None) -> st.SearchStrategy[Item]:
    what = texts.map(lambda text: Item(text=text))
    if known is not None:
        what = st.one_of(what, known.map(lambda name: Item(name=name)))
    return st.builds(
        lambda item, times: Item(item.name, item.text, *times), what, st.sampled_from(REPETITIONS)
    )


def alternatives(known: st.SearchStrategy[str] | None) -> st.SearchStrategy[Alternatives]:
    return st.lists(st.lists(items(known), max_size=3), min_size=1, max_size=2)


RULES = st.fixed_dictionaries(
    {"root": alternatives(names), "x": alternatives(st.just("y")), "y": alternatives(None)}
)

Place = tuple[str, int, int]  # a rule, one of its alternatives, an element
Element = tuple[str, str]  # a rule or a set of characters; then which
Rule = list[list[Element]]


def written_out(rules: dict[str, Alternatives]) -> dict[str, Rule]:
    """The rules as llama.cpp has them: repetitions are rules, texts are characters."""
    made: dict[str, Rule] = {}

    def add(rule: Rule) -> str:
        name = f"_{len(made)}"
        made[name] = rule
        return name

    def elements(item: Item) -> list[Element]:
        sets = {"[ab]": "ab", "[a-b]": "ab", "[^b]": "a"}
        one: list[Element] = [("rule", item.name)]
        if item.text.startswith('"'):
            one = [("rule", add([[("set", c) for c in item.text[1:]]]))]
            if len(item.text) == 2 or (item.low, item.high) == (1, 1):
                one = [("set", c) for c in item.text[1:]]
        elif item.text:
            one = [("set", sets[item.text])]
        needed = one * item.low
        if item.high is None:
            name = add([])
            made[name] = [[*one, ("rule", name)], []]
            return [*needed, ("rule", name)]
        rest: list[Element] = []
        for _ in range(item.high - item.low):
            rest = [("rule", add([[*one, *rest], []]))]
        return [*needed, *rest]

    for name, sequences in rules.items():
        made[name] = [[e for item in sequence for e in elements(item)] for sequence in sequences]
    return made


def most_ways(rules: dict[str, Alternatives]) -> int:
    """The ways of every text through the stacks, one after the other."""
    made = written_out(rules)

    @cache
    def stacks(start: tuple[Place, ...]) -> tuple[tuple[Place, ...], ...]:
        todo, seen, found = [start], set(), []
        while todo:
            stack = todo.pop()
            if stack in seen or not stack:
                continue
            seen.add(stack)
            *below, (rule, a, i) = stack
            kind, value = made[rule][a][i]
            if kind == "set":
                found.append(stack)
                continue
            if i + 1 < len(made[rule][a]):
                below = [*below, (rule, a, i + 1)]
            for b, sequence in enumerate(made[value]):
                todo.append((*below, (value, b, 0)) if sequence else tuple(below))
        return tuple(found)

    @cache  # it saves time and forgets no way
    def n_ways(stack: tuple[Place, ...], text: str) -> int:
        if not text:
            return 1
        *below, (rule, a, i) = stack
        if text[0] not in made[rule][a][i][1]:
            return 0
        if i + 1 < len(made[rule][a]):
            below = [*below, (rule, a, i + 1)]
        return sum(n_ways(following, text[1:]) for following in stacks(tuple(below)))

    begin = [s for b, q in enumerate(made["root"]) if q for s in stacks((("root", b, 0),))]
    return max(
        sum(n_ways(stack, "".join(text)) for stack in dict.fromkeys(begin))
        for n in range(1, LENGTH + 1)
        for text in itertools.product(ALPHABET, repeat=n)
    )


@settings(max_examples=80)
@given(rules=RULES)
def test_as_many_ways_as_there_are(rules: dict[str, Alternatives]) -> None:
    counted = Ways(rules, 10**6).most(Item(name="root"), LENGTH, 10**60)
    assert counted == most_ways(rules)


@settings(max_examples=40)
@given(rules=RULES, enough=st.integers(1, 50))
def test_it_stops_where_there_are_enough(rules: dict[str, Alternatives], enough: int) -> None:
    counted = Ways(rules, 10**6).most(Item(name="root"), LENGTH, enough)
    assert counted is not None
    assert (counted > enough) == (most_ways(rules) > enough)


def test_too_many_steps_are_said() -> None:
    rules: dict[str, Alternatives] = {"root": [[Item(text="[ab]", low=0, high=None)]]}
    assert Ways(rules, 3).most(Item(name="root"), 12, 10) is None


@pytest.mark.parametrize(
    ("first", "n"),
    [
        ({'"a': 2, '"b': 3}, 3),
        ({"[a-m]": 1, "[l-z]": 1, '"m': 1, '"n': 5}, 6),
        ({"[^a]": 1, '"a': 2, "[\\x41-\\x43]": 4, '"B': 1}, 6),
        ({".": 1, "[]]": 0, '"\\n': 1}, 2),
        ({'"': 4}, 0),
        ({}, 0),
    ],
)
def test_ways_with_one_character(first: dict[str, int], n: int) -> None:
    assert Ways({}, 0).most_at_once(first) == n
