"""How the answers of a model are read: where it thinks, where it speaks, where it calls tools.

A chat template shows most of it of itself; for the rest there are common families. What cannot be
found out is plain: such answers are text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..completion import Part
from ..vocabulary import Vocabulary
from .call_grammar import CallGrammar
from .formats.call_form import CallForm
from .formats.calls import Syntax, read_calls, schemas_of
from .formats.families import CALLS, CHANNELS, TEXTS, THOUGHTS, CallMarks, ThoughtMarks
from .formats.marks import ANYTHING, SPACE, Gap, Mark, Rule, opens, until
from .formats.parsed import ParsedAnswer, ToolCall
from .formats.probing import Shown, Template
from .formats.reader import Piece, Reader
from .generated_text import GeneratedText

__all__ = ["PLAIN", "AnswerFormat", "ParsedAnswer", "Piece", "Reader", "ToolCall"]

_BARE = ("{", SPACE, '"name"', SPACE, ":", SPACE, '"', ANYTHING, '"', SPACE, ",", SPACE)
_OFTEN_OPENED = "</think>"  # R1's, QwQ's and some of Qwen 3's prompts open the thought
_TAIL = 256  # characters at the end of a prompt

F = TypeVar("F", CallMarks, ThoughtMarks)


@dataclass(frozen=True)
class AnswerFormat:
    """The marks of thoughts and calls.

    Attributes
    ----------
    rules : tuple of Rule
    syntaxes : tuple of Syntax
        Of calls, in order of preference.
    opens, closes : str
        The marks of thoughts; empty if there are none, or if they are channels.
    closing : str
        What ends a thought and begins the text; empty if there are no thoughts.
    opening, reopening : str
        What begins a text that nothing or something came before; mostly nothing.
    ends_unopened : bool
        Whether prompts may open a thought, so that a closing mark alone ends one.
    joint : str
        What stands between texts that something else comes between.
    call_form : CallForm, optional
        Of calls in JSON.
    call_grammar : CallGrammar, optional
        What calls follow; None for nothing.
    """

    rules: tuple[Rule, ...] = ()
    syntaxes: tuple[Syntax, ...] = ()
    opens: str = ""
    closes: str = ""
    closing: str = ""
    opening: str = ""
    reopening: str = ""
    ends_unopened: bool = False
    joint: str = ""
    call_form: CallForm | None = None
    call_grammar: CallGrammar | None = None

    @classmethod
    def of(cls, template: Template | None, vocabulary: Vocabulary) -> AnswerFormat:
        """Return the format that a template teaches.

        Parameters
        ----------
        template : Template, optional
            None: what the vocabulary's own tokens tell.
        vocabulary : Vocabulary
        """
        source = "" if template is None else template.source
        for family in CHANNELS:
            if all(sign in source for sign in family.signs):
                found = cls(
                    family.rules,
                    family.syntaxes,
                    family.opens,
                    closing=family.closing,
                    opening=family.opening,
                    reopening=family.reopening,
                    joint="\n\n",
                    call_form=family.call_form,
                )
                return found._spelled(vocabulary)
        shown = Shown(template)
        thought = shown.thought or _known(THOUGHTS, source, vocabulary, "closes")
        texts = [*shown.text_marks]
        texts += [mark for sign, marks in TEXTS if sign in source for mark in marks]
        if thought is not None:
            texts = [mark for mark in texts if mark not in (thought.opens, thought.closes)]
        calls = _calls(shown.call, _known(CALLS, source, vocabulary))
        ends_unopened = thought is not None and (
            thought.closes == _OFTEN_OPENED
            or shown.prompt_ends_with(thought.opens)
            or _splits(source, thought.closes)
        )
        found = cls(
            tuple(_rules(thought, calls, texts)),
            tuple(dict.fromkeys(syntax for call in calls for syntax in call.syntaxes)),
            "" if thought is None else thought.opens,
            "" if thought is None else thought.closes,
            closing="" if thought is None else thought.closing,
            ends_unopened=ends_unopened,
            call_form=shown.call_form,
        )
        return found._spelled(vocabulary)

    def _spelled(self, vocabulary: Vocabulary) -> AnswerFormat:
        """The format with its marks told by token where they are control tokens."""
        rules = (replace(rule, mark=_spelled(rule.mark, vocabulary)) for rule in self.rules)
        return replace(self, rules=tuple(rules))

    def calling(
        self, tools: Sequence[Mapping[str, Any]] | None, vocabulary: Vocabulary
    ) -> AnswerFormat:
        """Return the format with a grammar for calls of some tools, where they are in JSON."""
        if not tools or self.call_form is None:
            return self
        return replace(self, call_grammar=CallGrammar(self.call_form, tools, vocabulary))

    @property
    def has_thoughts(self) -> bool:
        """Whether answers may have thoughts."""
        return bool(self.closing)

    def prompt_opens_thought(self, prompt: str) -> bool:
        """Return whether an answer that follows a prompt begins within a thought.

        Parameters
        ----------
        prompt : str
            Its end, of 256 characters or more, with control tokens.
        """
        return bool(self.opens) and prompt[-_TAIL:].rstrip().endswith(self.opens)

    def prompt_closes_thought(self, prompt: str) -> bool:
        """Return whether a prompt says that nothing is to be thought."""
        return bool(self.closes) and prompt[-_TAIL:].rstrip().endswith(self.closes)

    def reader(self, *, begins_in_thought: bool = False) -> Reader:
        """Return a reader for one answer."""
        part: Part = "reasoning" if begins_in_thought else "text"
        return Reader(self.rules, part, ends_unopened=self.ends_unopened)

    def parse(
        self,
        raw: str,
        *,
        begins_in_thought: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> ParsedAnswer:
        """Return what an answer says; any text can be parsed.

        A thought that does not end is reasoning. A closing mark alone ends a thought that began
        with the answer, if prompts of this family open thoughts or the template itself reads
        answers so; else it is text.

        Parameters
        ----------
        raw : str
            All of the answer. A ``GeneratedText`` tells control tokens from what looks like them.
        begins_in_thought : bool
            Whether the prompt opened a thought.
        tools : sequence of mapping, optional
            By their types, arguments without quotes are told from texts.
        """
        reader = self.reader(begins_in_thought=begins_in_thought)
        for text, is_control in getattr(raw, "runs", None) or ((str(raw), None),):
            reader.feed(text, is_control=is_control)
        pieces = reader.finish()
        text = _text(raw, pieces, self.joint)
        thoughts = _thoughts(pieces)
        calls: list[ToolCall] = []
        for block in _blocks(pieces):
            calls += read_calls(block, self.syntaxes, schemas_of(tools), len(calls))
        return ParsedAnswer("\n\n".join(thoughts) or None, text, tuple(calls))


PLAIN = AnswerFormat()
"""Answers are nothing but text."""


def _text(raw: str, pieces: Sequence[Piece], joint: str) -> str:
    """The text of an answer; whitespace between it and a mark is the mark's."""
    stops = [*itertools.accumulate(len(piece.text) for piece in pieces)]
    said = [n for n, piece in enumerate(pieces) if piece.part == "text" and not piece.is_mark]
    if len(pieces) == 1:
        return raw if said else ""
    texts = [raw[stops[n] - len(pieces[n].text) : stops[n]] for n in said if pieces[n].text.strip()]
    said = [n for n in said if pieces[n].text.strip()]
    if said and said[-1] < len(pieces) - 1:
        texts[-1] = texts[-1][: len(texts[-1].rstrip())]
    if not isinstance(raw, GeneratedText):
        return joint.join(texts)
    runs = [run for text in texts for run in ((joint, False), *getattr(text, "runs", ()))]
    return GeneratedText(runs[1:])


def _thoughts(pieces: Sequence[Piece]) -> list[str]:
    thoughts = [p.text.strip() for p in pieces if p.part == "reasoning" and not p.is_mark]
    return [thought for thought in thoughts if thought]


def _blocks(pieces: Sequence[Piece]) -> list[str]:
    """The texts of calls, each with its marks."""
    blocks: list[str] = []
    is_open = False
    for piece in pieces:
        if piece.part != "tool_call":
            is_open = False
        elif piece.begins or not is_open:
            blocks.append(piece.text)
            is_open = True
        else:
            blocks[-1] += piece.text
    return blocks


# -- making a format -------------------------------------------------------------------------


def _known(
    families: Sequence[F], source: str, vocabulary: Vocabulary, needed: str = "opens"
) -> F | None:
    """The first family whose marks are in a template, or are tokens of the vocabulary."""
    for family in families:
        mark = getattr(family, needed)
        if mark and (mark in source or _is_token(mark, vocabulary)):
            return family
    return None


def _is_token(mark: str, vocabulary: Vocabulary) -> bool:
    tokens = vocabulary.tokenize(mark, special=True)
    return len(tokens) == 1 and vocabulary.text(tokens[0]) == mark


def _splits(source: str, mark: str) -> bool:
    """Whether a template takes apart old answers at a mark."""
    quoted = rf"""['"]{re.escape(mark)}['"]"""
    return re.search(rf"split\(\s*{quoted}|{quoted}\s+in\b", source) is not None


def _calls(shown: CallMarks | None, known: CallMarks | None) -> list[CallMarks]:
    if shown is None or known is None:
        return [call for call in (shown, known) if call is not None]
    if shown.opens == known.opens:
        syntaxes = tuple(dict.fromkeys((*shown.syntaxes, *known.syntaxes)))
        return [replace(shown, closes=shown.closes or known.closes, syntaxes=syntaxes)]
    return [shown] if shown.opens else [shown, known]  # Llama's, which also has one in Python


def _rules(
    thought: ThoughtMarks | None, calls: Sequence[CallMarks], texts: Sequence[str]
) -> list[Rule]:
    rules: list[Rule] = []
    if thought is not None:
        if thought.opens:
            rules.append(opens("reasoning", thought.opens))
            # Some models open again what the prompt opened.
            rules.append(Rule("reasoning", Mark((thought.opens,)), "reasoning", at_start=True))
        rules.append(until("reasoning", thought.closes))
    for call in calls:
        if not call.opens:
            rules += [opens("tool_call", *_BARE, key, at_start=True) for key in _ARGUMENTS]
            continue
        rules.append(opens("tool_call", call.opens))
        if call.closes:
            rules.append(until("tool_call", call.closes, outside_strings=True))
        else:  # the next one ends it
            rules.append(Rule("tool_call", Mark((call.opens,)), "tool_call", outside_strings=True))
    rules += [opens("text", mark) for mark in texts if mark]
    return list(dict.fromkeys(rules))


_ARGUMENTS = ('"parameters"', '"arguments"')


def _spelled(mark: Mark, vocabulary: Vocabulary) -> Mark:
    elements: list[str | Gap] = []
    controls: set[str] = set()
    for element in mark.elements:
        if isinstance(element, Gap):
            elements.append(element)
            continue
        elements += _split(element, vocabulary, controls)
    return Mark(tuple(elements), frozenset(controls))


def _split(literal: str, vocabulary: Vocabulary, controls: set[str]) -> list[str]:
    """A literal, divided where control tokens begin and end."""
    tokens = vocabulary.tokenize(literal, special=True)
    spelled = {vocabulary.text(token) for token in tokens if vocabulary.is_control(token)}
    found = sorted((text for text in spelled if text and text in literal), key=len, reverse=True)
    if not found:
        return [literal]
    controls.update(found)
    pattern = "|".join(map(re.escape, found))
    return [part for part in re.split(f"({pattern})", literal) if part]
