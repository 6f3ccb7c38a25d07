"""The text of an answer while it comes: whole characters, and the part that each token is in."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ..completion import Part
from ..vocabulary import Vocabulary
from .format import AnswerFormat, Reader

__all__ = ["AnswerText"]

_TAIL = 64  # tokens of a prompt that are looked at


class AnswerText:
    """What the tokens of an answer say so far.

    Parameters
    ----------
    vocabulary : Vocabulary
    answer_format : AnswerFormat
    history : sequence of int
        The tokens so far.
    n_said : int
        How many of them, at the end, are the answer's, which are yet to be added.

    Attributes
    ----------
    n_thought : int
        The tokens of the thought so far, behind its opening mark.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        answer_format: AnswerFormat,
        history: Sequence[int],
        n_said: int,
    ) -> None:
        self.format = answer_format
        self.n_thought = 0
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._n_characters = 0
        begin = len(history) - n_said
        # Where an answer goes on within a character, the rest completes it.
        self._decoder.decode(vocabulary.incomplete_at_end(history[max(0, begin - _TAIL) : begin]))
        self._is_within_character = bool(self._decoder.getstate()[0])
        prompt = ""
        if answer_format.rules:
            tail = history[max(0, begin - _TAIL) : begin]
            prompt = vocabulary.detokenize(tail, special=True)
        in_thought = answer_format.prompt_opens_thought(prompt)
        self.reader: Reader | None = None
        if answer_format.rules:
            self.reader = answer_format.reader(begins_in_thought=in_thought)
            self.reader.has_thought |= answer_format.prompt_closes_thought(prompt)

    @property
    def is_in_thought(self) -> bool:
        """Whether the next token belongs to a thought."""
        return self.reader is not None and self.reader.part == "reasoning"

    @property
    def is_opened(self) -> bool:
        """Whether a header that begins a text is complete, and its text goes on."""
        reader = self.reader
        return reader is not None and reader.is_opened and not reader.pending

    @property
    def is_between(self) -> bool:
        """Whether neither a character nor perhaps a mark is incomplete."""
        pending = "" if self.reader is None else self.reader.pending
        return not (self._is_within_character or pending)

    @property
    def n_pending(self) -> int:
        """The number of characters at the end whose part depends on what follows."""
        return 0 if self.reader is None else len(self.reader.pending)

    @property
    def n_characters(self) -> int:
        """The number of characters so far."""
        return self._n_characters

    def part_at(self, n_characters: int) -> Part:
        """Return the part of the last of the first characters."""
        return "text" if self.reader is None else self.reader.part_at(n_characters)

    def add(self, token: int) -> str:
        """Return what a token adds to the text: whole characters."""
        text = self._text_of(token)
        self._n_characters += len(text)
        if self.reader is not None:
            was_in_thought = self.is_in_thought
            if text:
                self.reader.feed(text, is_control=self._vocabulary.is_control(token))
            self.n_thought = self.n_thought + 1 if was_in_thought and self.is_in_thought else 0
        return text

    def finish(self) -> None:
        """Note that nothing follows: what may have begun a mark did not."""
        if self.reader is not None:
            self.reader.finish()

    def _text_of(self, token: int) -> str:
        if not self._is_within_character:
            text = self._vocabulary.whole_piece(token)
            if text is not None:
                return text
        text = self._decoder.decode(self._vocabulary.spoken_piece(token))
        self._is_within_character = bool(self._decoder.getstate()[0])
        return text
