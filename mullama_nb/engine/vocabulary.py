"""Text to tokens and back, by the model's own vocabulary."""

from __future__ import annotations

import codecs
import ctypes
import itertools
import operator
import re
from collections.abc import Sequence
from typing import Any

import llama_cpp

from ..cached import cached
from ..checks import check_list
from ..errors import ParameterError
from .answers.generated_text import GeneratedText, Runs

__all__ = ["Vocabulary"]

_LSTRIP = 1 << 7  # LLAMA_TOKEN_ATTR_LSTRIP
_RSTRIP = 1 << 8  # LLAMA_TOKEN_ATTR_RSTRIP
# llama.cpp makes these of gpt-oss user-defined, so that they are shown; they are control tokens.
_HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
_REMEMBERED = 1 << 20  # characters; as many again that are older


class Vocabulary:
    """A model's tokens.

    Parameters
    ----------
    handle : llama_vocab pointer
        Valid as long as its model.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.n_tokens = int(llama_cpp.llama_vocab_n_tokens(handle))
        self.bos = self._or_none(llama_cpp.llama_vocab_bos(handle))
        self.eos = self._or_none(llama_cpp.llama_vocab_eos(handle))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(handle)) and self.bos is not None
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._texts: dict[int, str | None] = {}
        self._ends: dict[int, bool] = {}
        self._controls: dict[int, bool] = {}
        self._fragments: dict[str, list[int]] = {}
        self._older_fragments: dict[str, list[int]] = {}
        self._n_characters = 0

    def _or_none(self, token: int) -> int | None:
        return int(token) if 0 <= token < self.n_tokens else None

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of ``text``, without BOS.

        Parameters
        ----------
        text : str
            Surrogate pairs become characters, unpaired surrogates U+FFFD.
        special : bool
            Whether to parse control tokens such as ``<|im_end|>``, or take them as text.
        """
        if not text:
            return []
        if not special and any(mark in text for mark in self._always_parsed):
            return [token for part in self._broken(text) for token in self.tokenize(part)]
        data = _encoded(text)
        capacity = len(data) + 16
        buffer = (llama_cpp.llama_token * capacity)()
        n = llama_cpp.llama_tokenize(self.handle, data, len(data), buffer, capacity, False, special)
        if n < 0:  # a normaliser may make text longer; -n is what it needs
            capacity = -n
            buffer = (llama_cpp.llama_token * capacity)()
            n = llama_cpp.llama_tokenize(
                self.handle, data, len(data), buffer, capacity, False, special
            )
        return buffer[:n]

    def tokenize_escaped(self, text: str, escape: str) -> list[int]:
        """Return the tokens of a text, with control tokens parsed, except those with ``escape``.

        Parameters
        ----------
        text : str
            For instance a rendered chat template, its message contents passed through ``escaped``.
        escape : str
            The character that was inserted into control tokens that are to stay text.
        """
        tokens: list[int] = []
        strip_next = False
        for part in self._control_pattern.split(text) if self._control else [text]:
            control = self._control.get(part)
            if control is None:
                fragment = part.replace(escape, "")
                if strip_next:
                    fragment = fragment.lstrip()
                tokens += self._tokens_of(fragment)
                strip_next = strip_next and not fragment
            else:
                attributes = llama_cpp.llama_vocab_get_attr(self.handle, control)
                if attributes & _LSTRIP:
                    tokens = self._without_trailing_space(tokens)
                tokens.append(control)
                strip_next = bool(attributes & _RSTRIP)
        return tokens

    def _tokens_of(self, fragment: str) -> list[int]:
        """Tokens of a text between control tokens, remembered.

        They depend on nothing else, and a conversation says all of its earlier texts again at each
        turn: only what is new in it is tokenized.
        """
        known = self._fragments.get(fragment)
        if known is None:
            known = self._older_fragments.get(fragment)
            known = self.tokenize(fragment) if known is None else known
            self._fragments[fragment] = known
            self._n_characters += len(fragment)
            if self._n_characters > _REMEMBERED:  # what was not said since then is forgotten
                self._older_fragments, self._fragments = self._fragments, {}
                self._n_characters = 0
        return known

    def _without_trailing_space(self, tokens: list[int]) -> list[int]:
        while tokens and not self.is_control(tokens[-1]) and not self.piece(tokens[-1]).strip():
            tokens = tokens[:-1]
        return tokens

    def escaped(self, text: str, escape: str) -> str:
        """Return ``text`` with every control token in it broken by ``escape``."""
        if not self._control:
            return text
        return self._control_pattern.sub(lambda m: m[0][0] + escape + m[0][1:], text)

    def escaped_runs(self, runs: Runs, escape: str) -> str:
        """Return a generated text with every control token broken that was not generated as one.

        Parameters
        ----------
        runs : sequence of (str, bool)
            See ``GeneratedText``.
        escape : str
        """
        parts = [text if is_control else self.escaped(text, escape) for text, is_control in runs]
        whole = "".join(parts)
        generated = "".join(text for text, is_control in runs if is_control)
        if "".join(self._controls_in(whole)) == generated:
            return whole
        return escape.join(parts)  # what lies across a border looks like one

    def _controls_in(self, text: str) -> list[str]:
        return self._control_pattern.findall(text) if self._control else []

    def generated_text(self, tokens: Sequence[int], held: bytes = b"") -> GeneratedText:
        """Return the text of an answer's tokens, without an incomplete character at its end.

        Control tokens belong to it, except those that end an answer.

        Parameters
        ----------
        tokens : sequence of int
        held : bytes
            The beginning of the first character, where what is before ends within it.
        """
        groups: list[tuple[bool, list[int]]] = []
        for is_control, alike in itertools.groupby(tokens, self.is_control):
            several = [*alike]
            groups += [(True, [token]) for token in several] if is_control else [(False, several)]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(held)
        runs = []
        for index, (is_control, group) in enumerate(groups):
            data = b"".join(map(self.spoken_piece, group))
            is_last = index == len(groups) - 1
            runs.append((decoder.decode(data, final=not is_last), is_control))
        return GeneratedText(runs)

    @cached
    def control_tokens(self) -> list[int]:
        """All control tokens."""
        return [token for token in range(self.n_tokens) if self.is_control(token)]

    @cached
    def _control(self) -> dict[str, int]:
        """The texts of the control tokens, longest first."""
        texts = {}
        for token in self.control_tokens:
            text = self.text(token)
            if len(text) > 1:
                texts[text] = token
        return dict(sorted(texts.items(), key=lambda item: -len(item[0])))

    @cached
    def _always_parsed(self) -> tuple[str, ...]:
        """Control tokens that llama.cpp would find in any text."""
        return tuple(mark for mark in _HARMONY if mark in self._control)

    def _broken(self, text: str) -> list[str]:
        """Cut a text so that no part has a control token that is always parsed."""
        marks = "|".join(map(re.escape, self._always_parsed))
        cuts = [match.start() + 1 for match in re.finditer(marks, text)]
        return [text[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(text)])]

    @cached
    def _control_pattern(self) -> re.Pattern[str]:
        return re.compile("(" + "|".join(map(re.escape, self._control)) + ")")

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Return the text of ``tokens``; bytes that are not UTF-8 become U+FFFD.

        Parameters
        ----------
        tokens : sequence of int
        special : bool
            Whether to write control tokens out.
        """
        if not tokens:
            return ""
        n_tokens = len(tokens)
        array = (llama_cpp.llama_token * n_tokens)(*tokens)
        capacity = 8 * n_tokens + 64
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            n = llama_cpp.llama_detokenize(
                self.handle, array, n_tokens, buffer, capacity, False, special
            )
            if n >= 0:
                return buffer.raw[:n].decode("utf-8", "replace")
            capacity = -n

    def incomplete_at_end(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of a character that tokens end within; empty if they do not."""
        data = b""
        for token in reversed(tokens[-4:]):  # no character has more bytes
            if self.is_control(token):
                break
            data = self.piece(token) + data
        start = max((at for at in range(-3, 0) if data[at:][:1] >= b"\xc0"), default=0)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(data[start:] if start else b"")
        return decoder.getstate()[0]

    def checked(self, tokens: object) -> tuple[int, ...]:
        """Return tokens as Python's own integers.

        Raises
        ------
        ParameterError
            When they are no list of whole numbers, or one is not in the vocabulary.
        """
        given = check_list("tokens", tokens, "token ids")
        try:
            values = tuple(map(operator.index, given))
        except TypeError:
            raise ParameterError("a list of tokens must hold whole numbers only") from None
        for token in values:
            if not 0 <= token < self.n_tokens:
                raise ParameterError(
                    f"token {token} is not in the vocabulary of {self.n_tokens} tokens"
                )
        return values

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes that a token adds to a text; they may end within a character."""
        key = (token, special)
        found = self._pieces.get(key)
        if found is None:
            buffer = ctypes.create_string_buffer(512)
            n = llama_cpp.llama_token_to_piece(self.handle, token, buffer, 512, 0, special)
            if n < 0:
                buffer = ctypes.create_string_buffer(-n)
                n = llama_cpp.llama_token_to_piece(self.handle, token, buffer, -n, 0, special)
            found = self._pieces[key] = buffer.raw[:n]
        return found

    def spoken_piece(self, token: int) -> bytes:
        """Return the bytes that a token adds to an answer: control tokens too, except its end."""
        return self.piece(token, special=self.is_control(token) and not self.is_end(token))

    def whole_piece(self, token: int) -> str | None:
        """Return the text that a token adds to an answer; None if its characters are incomplete."""
        if token not in self._texts:
            try:
                self._texts[token] = self.spoken_piece(token).decode()
            except UnicodeDecodeError:
                self._texts[token] = None
        return self._texts[token]

    def text(self, token: int | None) -> str:
        """Return a token's spelling in the vocabulary; empty for no token."""
        if token is None:
            return ""
        return str(llama_cpp.llama_vocab_get_text(self.handle, token).decode("utf-8", "replace"))

    def is_control(self, token: int) -> bool:
        """Return whether a token is a control token."""
        found = self._controls.get(token)
        if found is None:
            is_control = llama_cpp.llama_vocab_is_control(self.handle, token)
            found = self._controls[token] = bool(is_control) or self.text(token) in _HARMONY
        return found

    def is_end(self, token: int) -> bool:
        """Return whether a token ends a generation."""
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(llama_cpp.llama_vocab_is_eog(self.handle, token))
        return found

    def common_prefix(self, held: Sequence[int], wanted: Sequence[int]) -> tuple[int, int]:
        """Return the common prefix of two token lists by text; control tokens differ from text.

        A sampled answer, tokenised again, often gives other tokens of the same text. The prefix
        ends at the last point where both lists have a token boundary after the same text.

        Parameters
        ----------
        held, wanted : sequence of int

        Returns
        -------
        (int, int)
            Number of tokens of ``held`` to keep, and of tokens of ``wanted`` that they replace.
        """
        same = next((i for i, (a, b) in enumerate(zip(held, wanted, strict=False)) if a != b), None)
        best = min(len(held), len(wanted)) if same is None else same
        i = j = best
        kept = (best, best)
        left, right = b"", b""  # text of held[:i] and wanted[:j] after the last common boundary
        while True:
            if left == right:
                kept = (i, j)
                left = right = b""
                if i == len(held) or j == len(wanted):
                    return kept
                if self._is_symbol(held[i]) or self._is_symbol(wanted[j]):
                    if held[i] != wanted[j]:
                        return kept
                    i, j = i + 1, j + 1
                    continue
            if not (left.startswith(right) or right.startswith(left)):
                return kept
            if len(left) <= len(right):
                if i == len(held) or self._is_symbol(held[i]):
                    return kept
                left += self.piece(held[i])
                i += 1
            else:
                if j == len(wanted) or self._is_symbol(wanted[j]):
                    return kept
                right += self.piece(wanted[j])
                j += 1

    def _is_symbol(self, token: int) -> bool:
        return self.is_control(token) or not self.piece(token)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
