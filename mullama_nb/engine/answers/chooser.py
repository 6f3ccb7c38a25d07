"""Choosing the tokens of an answer that may think first: budgets, and grammars behind thoughts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...errors import GrammarError
from ..completion import Limits
from ..decoder import Decoder, Logits
from ..sampling.adaptive import SamplerState
from ..sampling.params import SamplingParams
from ..sampling.sampler import Sampler, Watch
from ..vocabulary import Vocabulary
from .format import AnswerFormat, Reader
from .text import AnswerText

__all__ = ["Chooser"]


class Chooser:
    """Chooses the tokens of one answer, in its thoughts and behind them.

    What it chooses depends on the tokens so far alone, so that a replay that forces them chooses
    the same.

    Parameters
    ----------
    vocabulary : Vocabulary
    sampling : SamplingParams
        With a seed. A grammar begins behind the thought, and calls have no other one then.
    sibling : int
    limits : Limits
        Its ``reasoning_budget``.
    history : sequence of int
        The preceding tokens.
    n_ctx : int
        Cells.
    sampler_state : SamplerState, optional
        What a sampler carries over from an answer that is continued.
    answer_format : AnswerFormat
        Its grammar of calls, if it has one, holds from an opening mark to the closing one.
    n_said : int
        How many of the preceding tokens are the answer's. A grammar that they follow goes on behind
        them; another begins there.
    n_own : int
        How many of these were chosen as this chooser does, which then takes up in their middle.

    Attributes
    ----------
    text : AnswerText
        What the answer says so far.
    why : str
        Why the next token is forced, if it is.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        sibling: int,
        limits: Limits,
        history: Sequence[int],
        n_ctx: int,
        sampler_state: SamplerState | None,
        answer_format: AnswerFormat,
        n_said: int = 0,
        n_own: int = 0,
    ) -> None:
        self.why = ""
        self.text = AnswerText(vocabulary, answer_format, history, n_said)
        self._vocabulary = vocabulary
        self._budget = limits.reasoning_budget if answer_format.has_thoughts else None
        self._sampler = Sampler(vocabulary, sampling, sibling, history, n_ctx, sampler_state)
        self._forced: deque[int] = deque()
        has_grammar = self._sampler.has_grammar
        self._call_grammar = None if has_grammar else answer_format.call_grammar
        self._wait_if_due()
        begin = len(history) - n_own
        self._go_through(history[len(history) - n_said : begin])
        self._go_through(history[begin:])

    def _go_through(self, said: Sequence[int]) -> None:
        """Note what was said of the answer, which may be cut within a forced mark."""
        fits = True
        for token in said:
            self._end_thought_if_due()
            if self._begins_text(token):
                self._begin_grammar()
            if self._call_grammar is not None:
                self._sampler.read(token)
            else:
                fits = fits and (self._waits or self._sampler.follow(token))
            self._take(token)
            if self._waits and self.text.is_opened:
                self._begin_grammar()
        if not fits:  # it was said without the grammar, which is for what comes
            self._sampler.restart_grammar()
            self._wait_if_due()

    def _wait_if_due(self) -> None:
        """Hold the grammar back where something may come before the text."""
        self._waits = self._sampler.has_grammar and self._may_think
        if self._waits:
            self._sampler.hold_grammar()

    def _begins_text(self, token: int) -> bool:
        """Whether a grammar that waits has to begin in front of a token that is given."""
        is_free = self.text.is_in_thought or [token] == [*self._forced][:1]
        return self._waits and not is_free and not self._goes_before_text(token)

    @property
    def is_forced(self) -> bool:
        """Whether a rule of the answer says which token comes next."""
        return bool(self._forced)

    def show(self, watch: Watch) -> None:
        """Let every step of the next choice be seen."""
        self._sampler.watch = watch

    @property
    def sampler_state(self) -> SamplerState | None:
        """What a sampler carries to the next token; None without one that does."""
        return self._sampler.state

    @property
    def _may_think(self) -> bool:
        """Whether something may come before the text."""
        form, reader = self.text.format, self.text.reader
        if reader is None or not (form.has_thoughts or form.opening):
            return False
        return self.text.is_in_thought or bool(form.opening) or not reader.has_thought

    def choose(self, logits: Logits, position: int, decoder: Decoder | None = None) -> int:
        """Choose the next token; see ``Sampler.choose``."""
        self._end_thought_if_due()
        if self._forced:
            return self._forced[0]
        token = self._drawn(logits, position, decoder)
        if self._call_grammar is not None and self._force_mark(token):
            return self._forced[0]
        if not self._waits or self.text.is_in_thought or self._goes_before_text(token):
            return token
        self._force(self._text_opening(), "the text that the grammar is for begins with this mark")
        if self._forced:
            return self._forced[0]
        self._begin_grammar()
        return self._sampler.choose(logits, position, decoder)

    def accept(self, token: int) -> str:
        """Note that a token, which ``choose`` has given, was taken; return what it says."""
        self._sampler.accept(token)
        said = self._take(token)
        if self._waits and self.text.is_opened:
            self._begin_grammar()
        return said

    def force(self, token: int) -> bool:
        """Take a token that was perhaps not chosen; False where the grammar does not allow it."""
        if self._begins_text(token):
            self._begin_grammar()
        if not self._sampler.fits(token):
            return False
        self.accept(token)
        return True

    def log_probability(self, logits: Logits, token: int) -> float:
        """Return the logarithm of a token's own probability."""
        return self._sampler.log_probability(logits, token)

    # -- thoughts ----------------------------------------------------------------------------

    def _end_thought_if_due(self) -> None:
        """Force the closing mark where the budget is spent."""
        text = self.text
        if self._forced or self._budget is None or not (text.is_in_thought and text.is_between):
            return
        if text.n_thought >= self._budget:
            self._force(text.format.closing, "the budget of the thought is spent")

    def _take(self, token: int) -> str:
        """Note that a token follows, forced or not; return what it says."""
        if self._forced and self._forced.popleft() != token:
            self._forced.clear()
        return self._read(token)

    def _force(self, text: str, why: str) -> None:
        self.why = why
        self._forced.extend(self._vocabulary.tokenize(text, special=True))

    # -- calls -------------------------------------------------------------------------------

    def _drawn(self, logits: Logits, position: int, decoder: Decoder | None) -> int:
        try:
            return self._sampler.choose(logits, position, decoder)
        except GrammarError:
            if self._call_grammar is None:
                raise
            self._sampler.set_grammar(None)  # the vocabulary cannot say it, and nobody asked for it
            return self._sampler.choose(logits, position, decoder)

    def _read(self, token: int) -> str:
        """Read a token; a grammar begins where a call does, and ends with it."""
        reader, sampler = self.text.reader, self._sampler
        n_calls = 0 if reader is None else reader.n_calls
        text = self.text.add(token)
        if self._call_grammar is None or reader is None:
            return text
        if reader.part != "tool_call":
            sampler.set_grammar(None)
        elif reader.n_calls > n_calls:
            grammar = self._grammar_of(reader, text)
            sampler.set_grammar(grammar)
            if grammar is not None and reader.call:
                sampler.read(token)
        sampler.bars_controls = reader.is_in_string
        return text

    def _grammar_of(self, reader: Reader, text: str) -> str | None:
        """The grammar of a call; where the last token has more than its mark, of that token on."""
        assert self._call_grammar is not None
        n_before = len(text) - len(reader.call)
        if n_before < 0:
            return None
        return self._call_grammar.text(reader.call_mark, text[:n_before] if reader.call else "")

    def _force_mark(self, token: int) -> bool:
        """Let a mark alone come first where a token has it, and more that no call begins with."""
        reader, text = self.text.reader, self._vocabulary.whole_piece(token)
        assert reader is not None
        assert self._call_grammar is not None
        opens = self._call_grammar.opens
        if not text or not opens or not (reader.pending or opens in text):
            return False
        trial = reader.copy()
        trial.feed(text, is_control=self._vocabulary.is_control(token))
        if trial.n_calls == reader.n_calls or not trial.call or trial.part != "tool_call":
            return False
        grammar = self._grammar_of(trial, text)
        if grammar is None or self._sampler.would_read(grammar, token):
            return False
        mark = text[: len(text) - len(trial.call)]
        tokens = self._vocabulary.tokenize(mark, special=True)
        if "".join(self._vocabulary.whole_piece(each) or "" for each in tokens) == mark:
            self._forced.append(tokens[0])  # the others are drawn from there
            self.why = "the mark of a call comes alone, without what no call begins with"
        return bool(self._forced)

    # -- a grammar that waits ----------------------------------------------------------------

    def _begin_grammar(self) -> None:
        self._waits = False
        self._sampler.begin_grammar()

    def _goes_before_text(self, token: int) -> bool:
        """Whether a token is a mark, or a part of one, in front of the text."""
        if self._vocabulary.is_end(token):
            return False
        text = self._vocabulary.whole_piece(token)
        reader = self.text.reader
        if not text or reader is None:
            return False
        trial = reader.copy()
        n_pieces, n_certain = len(trial.pieces), trial.n_certain
        trial.feed(text, is_control=self._vocabulary.is_control(token))
        if trial.part == "tool_call" or (reader.has_thought and trial.part == "reasoning"):
            return False
        if any(piece.part == "text" and not piece.is_mark for piece in trial.pieces):
            return False
        if not trial.pending and trial.n_certain > n_certain and len(trial.pieces) == n_pieces:
            return self._is_space_of_mark(trial.pieces[-1].text)
        return not trial.pending or bool(reader.pending) or not self._sampler.would_fit(token)

    def _is_space_of_mark(self, mark: str) -> bool:
        """Whether a mark with the whitespace after it is no longer than the template's."""
        return self.text.format.closing.endswith(mark) or mark.rstrip() == mark

    def _text_opening(self) -> str:
        """What has to be said before the text: the rest of a mark, or a header."""
        form, reader = self.text.format, self.text.reader
        assert reader is not None
        begun = reader.pending
        if begun:
            rest = (rule.mark.text for rule in form.rules if rule.within == "text")
            return next((mark[len(begun) :] for mark in rest if mark.startswith(begun)), "")
        if not form.opening or self.text.is_opened:
            return ""
        return form.opening if not reader.pieces else form.reopening
