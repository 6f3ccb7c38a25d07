"""Grammars and their expanded size, counted before llama.cpp builds them.

llama.cpp parses grammars recursively, expands repetitions, and follows all ways into a rule at
once: one line of text can keep it busy forever. So the text is parsed here first.

For each rule it is counted how many elements it is written out to, and how many ways lead into it:
the alternatives of what may come first, multiplied where rules that may be left out nest. Those are
the stacks that llama.cpp keeps, and what its search for left recursion visits. Where several of
them lead to the same text, it follows all of them through every token, and their number may be
multiplied with each character. So what is read again and again, and begins in more than a few ways
with one character, is followed through all texts of some length: alternatives that begin alike and
soon differ are what people write.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ...errors import GrammarError, shown
from .ways import Alternatives, Item, Ways

__all__ = ["MOST_REPETITIONS", "MOST_WAYS", "check_grammar"]

MOST_REPETITIONS = 2_000  # llama.cpp's MAX_REPETITION_THRESHOLD: it refuses or forgets what is more
MOST_WAYS = 4_000  # llama.cpp compares each with each
_MOST_WAYS_IN_ALL = 1_000_000
_MOST_SAME_WAYS = 16  # that lead to one text
_MOST_TIMES = 3  # that the ways to read a text may be multiplied with each character
_TEXT = 12  # characters that are read to see that
_MOST_STEPS = 2_000_000
_MOST_ELEMENTS = 500_000
_MOST_DEPTH = 256
_MOST_RULES = 10_000  # each may refer to the next one
_MOST_CHARACTERS = 4_000_000
_TOKEN = re.compile(
    r"(?P<skip>[ \t]+|\#[^\r\n]*)|(?P<line>[\r\n]+)|(?P<define>[A-Za-z0-9-]+\s*::=)"
    r'|(?P<name>[A-Za-z0-9-]+)|"(?P<literal>(?:[^"\\]|\\.)*)"|(?P<set>\[(?:[^\]\\]|\\.)*\])'
    r"|(?P<any>\.)|(?P<token>!?<[^<>\s]*>)|(?P<open>\()|(?P<close>\))|(?P<or>\|)"
    r"|(?P<times>[*+?]|\{\s*\d{1,19}\s*(?:,\s*(?:\d{1,19})?\s*)?\})",
    re.DOTALL,
)
_GROUP = "("  # begins the names of groups, and of no rule
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True)
class _Count:
    """What something is written out to.

    Attributes
    ----------
    elements : int
    ways : int
        That lead into it.
    visits : int
        Of all ways into it and into what it repeats.
    may_be_empty : bool
    first : Counter of str
        Of the ways, how many lead to each text and set.
    """

    elements: int
    ways: int
    visits: int
    may_be_empty: bool
    first: Counter[str]


def check_grammar(grammar: str) -> None:
    """Check the expanded size of a grammar, before llama.cpp sees it.

    A small grammar that cannot be parsed is left to llama.cpp, which reports why.

    Raises
    ------
    GrammarError
        When it is not a text, nests too deeply, or would grow too large.
    """
    if not isinstance(grammar, str) or not grammar.strip():
        raise GrammarError("the grammar is empty; give GBNF text with a rule named root")
    _check_text(str(grammar))


@lru_cache(maxsize=4)  # each answer to a question is given with parameters of its own
def _check_text(grammar: str) -> None:
    if "\0" in grammar:
        raise GrammarError("the grammar holds a NUL character")
    _need("characters", len(grammar), _MOST_CHARACTERS)
    rules = _rules(grammar)
    _need("rules", sum(not name.startswith(_GROUP) for name in rules), _MOST_RULES)
    _count(rules)


def _need(what: str, n: int, most: int) -> None:
    if n > most:
        many = f"{n:,}" if n < 10**12 else "more than 10^12"
        raise GrammarError(
            f"the grammar has {many} {what}; at most {most:,} are allowed. Use fewer alternatives "
            "and repetitions, or fewer parts that may be left out"
        )


# -- reading ---------------------------------------------------------------------------------


def _tokens(grammar: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(grammar):
        match = _TOKEN.match(grammar, at)
        if match is None:
            what = "unexpected end of input"
            if grammar[at] not in '"[':
                what = "expecting a name, a text, a set or an operator"
            raise GrammarError(f"the grammar cannot be read: {what} at {shown(grammar[at:])}")
        at = match.end()
        kind = match.lastgroup
        assert kind is not None
        if kind != "skip":
            yield kind, match.group(kind)


def _rules(grammar: str) -> dict[str, Alternatives]:
    rules: dict[str, Alternatives] = {}
    stack: list[Alternatives] = []
    for kind, text in _tokens(grammar):
        if kind == "define":
            stack = [[[]]]
            rules[text.partition("::=")[0].strip()] = stack[0]
            continue
        if not stack:  # what stands in front of the first rule
            continue
        last = stack[-1][-1]
        if kind == "or":
            stack[-1].append([])
        elif kind == "open":
            stack.append([[]])
            if len(stack) - 1 > _MOST_DEPTH:
                raise GrammarError(
                    f"the grammar nests {len(stack) - 1} levels deep; at most {_MOST_DEPTH} are "
                    "allowed"
                )
        elif kind == "close" and len(stack) > 1:
            name = f"{_GROUP}{len(rules)}"
            rules[name] = stack.pop()
            stack[-1][-1].append(Item(name=name))
        elif kind == "times" and last:
            last[-1] = _repeated(last[-1], text)
        elif kind == "name":
            last.append(Item(name=text))
        elif kind == "literal":
            last.append(Item(text=f'"{text}'))
        elif kind in ("set", "any", "token"):
            last.append(Item(text=text))
    return rules


def _repeated(item: Item, times: str) -> Item:
    if times in _TIMES:
        low, high = _TIMES[times]
    else:
        numbers = times.strip("{}").split(",")
        low = int(numbers[0])
        high = low if len(numbers) == 1 else int(numbers[1]) if numbers[1].strip() else None
    _need("repetitions", max(low, high or 0), MOST_REPETITIONS)
    if (item.low, item.high) != (1, 1):
        raise GrammarError(
            f"the grammar repeats a repetition at {shown(times)}; use parentheses around the first"
        )
    return replace(item, low=low, high=high)


# -- counting --------------------------------------------------------------------------------


def _count(rules: dict[str, Alternatives]) -> None:
    """Count all rules, those first that others refer to, as long as all is within bounds."""
    counts: dict[str, _Count] = {}
    begun: set[str] = set()
    again = {i for a in rules.values() for s in a for i in s if i.high is None or i.high > 1}
    elements = visits = 0
    for first in rules:
        stack = [first]
        while stack:
            name = stack[-1]
            if name in counts:
                stack.pop()
            elif name in begun:
                stack.pop()
                count = counts[name] = _of_alternatives(rules[name], counts)
                elements, visits = elements + count.elements, visits + count.visits
                _check(name, count)
                _need("elements, written out", elements, _MOST_ELEMENTS)
                _need("ways into its rules", visits, _MOST_WAYS_IN_ALL)
            else:
                begun.add(name)
                names = [i.name for s in rules[name] for i in s if i.name in rules]
                again |= {Item(name=n) for n in names if n in begun and n not in counts}
                stack += [n for n in names if n not in begun]
    _check_texts(rules, counts, again)


def _check_texts(
    rules: dict[str, Alternatives], counts: dict[str, _Count], again: set[Item]
) -> None:
    """Check that no text can be read in ways whose number grows too much with each character.

    Parameters
    ----------
    rules, counts
    again : set of Item
        What is read more than once.
    """
    ways, most = Ways(rules, _MOST_STEPS), _MOST_TIMES**_TEXT
    at_once = {name: ways.most_at_once(counts[name].first) for name in rules}
    if max(at_once.values(), default=0) <= _MOST_TIMES:
        return
    again |= {Item(name=name) for name, n in at_once.items() if n > _MOST_SAME_WAYS}
    # Those first that begin in many ways: where that is too much to follow, it is too much.
    for item in sorted(again, key=lambda item: -at_once.get(item.name, 0)):
        found = ways.most(item, _TEXT, most)
        if found is None and at_once.get(item.name, 0) <= _MOST_TIMES:
            return
        if found is None or found > most:
            what = "a group" if item.name.startswith(_GROUP) else _spelled(item.name or item.text)
            raise GrammarError(
                f"the grammar has too many ways to read one text in {what}. Use fewer alternatives "
                "that begin alike, or fewer parts that may be left out"
            )


def _check(name: str, count: _Count) -> None:
    where = "a group" if name.startswith(_GROUP) else f"the rule {shown(repr(name))}"
    _need(f"ways into {where}", count.ways, MOST_WAYS)


def _spelled(text: str) -> str:
    """A text or a set as the grammar has it."""
    return shown(f'{text}"' if text.startswith('"') else text)


def _of_alternatives(alternatives: Alternatives, counts: dict[str, _Count]) -> _Count:
    found = [_of_sequence(sequence, counts) for sequence in alternatives]
    first: Counter[str] = Counter()
    for count in found:
        first.update(count.first)
    return _Count(
        sum(c.elements + 1 for c in found),
        sum(c.ways for c in found),
        sum(c.visits for c in found),
        any(c.may_be_empty for c in found),
        first,
    )


def _of_sequence(sequence: list[Item], counts: dict[str, _Count]) -> _Count:
    elements = ways = visits = 0
    first: Counter[str] = Counter()
    may_be_empty = True
    for item in sequence:
        count = _of_item(item, counts)
        elements += count.elements
        visits += count.visits
        if may_be_empty:
            ways += count.ways
            first.update(count.first)
        may_be_empty = may_be_empty and count.may_be_empty
    ways += may_be_empty
    return _Count(elements, ways, max(visits, ways), may_be_empty, first)


def _of_item(item: Item, counts: dict[str, _Count]) -> _Count:
    first = Counter({item.text: 1}) if item.text else Counter[str]()
    one = _Count(max(1, len(item.text) - 1), 1, 1, may_be_empty=False, first=first)
    if item.name in counts:  # else it is not there, or refers to this one
        one = replace(counts[item.name], elements=1)
    if (item.low, item.high) == (1, 1):
        return one
    n = max(item.low, item.high or 0, 1)
    may_be_empty = item.low == 0 or one.may_be_empty
    again = n if one.may_be_empty else 1
    ways = one.ways * again + (item.low == 0)
    visits = max(one.visits * n, ways)
    first = Counter({text: same * again for text, same in one.first.items()})
    return _Count((one.elements + 2) * n, ways, visits, may_be_empty, first)
