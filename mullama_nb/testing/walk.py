"""The walk over a recorded tree: each segment is evaluated once, with its path forced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from blake3 import blake3

from ..engine.answers.chooser import Chooser
from ..engine.answers.format import AnswerFormat
from ..engine.completion import Limits
from ..engine.context import Context
from ..engine.decoder import Logits
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.request import seeded
from ..engine.sampling.adaptive import SamplerState
from ..engine.sampling.params import SamplingParams
from ..engine.templates.options import TemplateOptions
from ..errors import ParameterError
from ..history.carrying import carried
from ..history.notes import Notes
from ..history.options import recalled
from ..history.tree import Checkpoint, CheckpointTree
from .cells_needed import params_for

__all__ = [
    "Entry",
    "Step",
    "Walk",
    "fitting_params",
    "longest_path",
    "step_at",
    "vocabulary_digest",
    "walk",
]

_N_TOP = 5
_LOOK_AHEAD = 24  # tokens of what is said where a recorded answer ends
_SAMPLES = 1024


@dataclass(frozen=True)
class Step:
    """The probability of a token, and the likeliest ones in its place.

    Attributes
    ----------
    logprob : float
    top : tuple of (int, float)
        Tokens with their log-probabilities, likeliest first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Entry:
    """One checkpoint of a recording.

    Attributes
    ----------
    id : str
    parent : str or None
        None: the tree's root.
    tokens : tuple of int
        Since the parent.
    text : str
        The text of the tokens, for readers of the file.
    notes : mapping
        The checkpoint's metadata: role, message, sampling, sibling.
    is_generated : bool
        Whether the tokens were generated, or scored as if they were.
    end : int or None
        The token that ended the answer, not part of it.
    drawn : tuple of int
        The tokens drawn on the recording machine when the path is forced, if they differ from the
        answer's: answers explored together differ in their last bits. Their notes give, as
        ``explored``, how many were decoded in one batch.
    steps : tuple of Step
        One for each of ``said``, if they were generated.
    after : tuple of (int, float)
        For a leaf without steps: the likeliest tokens after the last one, with their
        log-probabilities. So something recorded depends on every token of a tree.
    is_rendered : bool or None
        Whether the tokens are the noted message as rendered by the chat template, which fails only
        for a caller's own notes; None without a noted message.
    """

    id: str
    parent: str | None
    tokens: tuple[int, ...]
    text: str
    notes: Mapping[str, Any]
    is_generated: bool = False
    end: int | None = None
    drawn: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    after: tuple[tuple[int, float], ...] = ()
    is_rendered: bool | None = None

    @property
    def noted(self) -> Notes:
        """The notes as the history reads them."""
        return Notes.of(self.notes)

    @property
    def said(self) -> tuple[int, ...]:
        """The tokens, including the one that ended them."""
        return self.tokens if self.end is None else (*self.tokens, self.end)

    @property
    def expected(self) -> tuple[int, ...]:
        """The tokens that should be drawn here."""
        return self.drawn or self.said

    @property
    def sampling(self) -> SamplingParams | None:
        """How the tokens were sampled; None if they were not."""
        noted = self.noted
        if not (noted.is_generated and self.is_generated):
            return None
        return seeded(recalled(noted.sampling))

    @property
    def limits(self) -> Limits:
        """The limits of the answer, as far as noted."""
        return Limits(**self.noted.limits)


@dataclass(frozen=True)
class Walk:
    """The findings of a walk, by the entries' ids.

    Attributes
    ----------
    steps : dict
        Of the tokens that were generated.
    chosen : dict
        The tokens drawn here, if any were.
    ends : dict
        The tokens that end answers here.
    texts : dict
        The texts here from the first token that is drawn differently.
    after : dict
        The likeliest tokens after leaves that were not generated.
    """

    steps: dict[str, tuple[Step, ...]] = dataclasses.field(default_factory=dict)
    chosen: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    ends: dict[str, int] = dataclasses.field(default_factory=dict)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    after: dict[str, tuple[tuple[int, float], ...]] = dataclasses.field(default_factory=dict)

    def filled_in(self, entry: Entry) -> Entry:
        """Return an entry with its measurements."""
        end, chosen = self.ends.get(entry.id), self.chosen.get(entry.id, ())
        steps = self.steps.get(entry.id, ())
        said = dataclasses.replace(entry, end=end, steps=steps)
        return dataclasses.replace(
            said,
            drawn=() if chosen == said.said else chosen,
            is_generated=bool(steps) or entry.noted.is_generated,
            after=self.after.get(entry.id, ()),
        )


def vocabulary_digest(model: Model) -> str:
    """Return a digest of a vocabulary's size and of a sample of its tokens."""
    n = model.n_vocab
    sample = [model.vocabulary.text(token) for token in range(0, n, max(1, n // _SAMPLES))]
    return blake3("\0".join([str(n), *sample]).encode("utf-8", "replace")).hexdigest(length=8)


def longest_path(entries: Sequence[Entry]) -> int:
    """Return the number of tokens on the longest path."""
    stops: dict[str | None, int] = {None: 0}
    for entry in entries:
        stops[entry.id] = stops[entry.parent] + len(entry.tokens)
    return max(stops.values())


def fitting_params(entries: Sequence[Entry], model: Model, params: ContextParams) -> ContextParams:
    """Return the parameters with as many cells as the entries need, if the rows allow that."""
    return params_for(longest_path(entries) + _LOOK_AHEAD, model, params)


def walk(
    entries: Sequence[Entry],
    context: Context,
    template: TemplateOptions,
    *,
    finds_ends: bool = False,
    with_texts: bool = False,
) -> Walk:
    """Evaluate a recorded tree in an empty context.

    Parameters
    ----------
    entries : sequence of Entry
        Parents first.
    context : Context
    template : TemplateOptions
        Of the chat; it tells thoughts from texts.
    finds_ends : bool
        Whether to find the token that ended an answer; otherwise it is in the entries.
    with_texts : bool
        Whether to generate the text from the first token that is drawn differently.

    Raises
    ------
    ParameterError
        When a token is not in the model's vocabulary.
    AdapterError
        When an adapter that an entry was made with is not known to the context.
    """
    _check_tokens(entries, context.model)
    tree = CheckpointTree(context)
    places: dict[str | None, Checkpoint] = {None: tree.root}
    has_children = {entry.parent for entry in entries}
    by_id = {entry.id: entry for entry in entries}
    formats = template.answer_format(context.model), template.calling_format(context.model)
    found = Walk()
    for entry in entries:
        parent = places[entry.parent]
        if tree.head is not parent:
            tree.checkout(parent)
        context.adapters = context.known_adapters.of(entry.noted.adapters)
        if entry.is_generated and context.token_count():
            chooser = _chooser(entry, by_id, context, formats[entry.noted.call_grammar])
            _follow(entry, chooser, context, found, finds_end=finds_ends)
        elif entry.tokens:
            context.evaluate(entry.tokens)
        if entry.id not in has_children and not found.steps.get(entry.id) and context.token_count():
            found.after[entry.id] = step_at(context.logits, 0).top
        differs = with_texts and first_other(entry, found) is not None
        if entry.id in has_children or differs or not context.memory_kind.is_plain:
            places[entry.id] = tree.commit(allow_empty=True)
        else:  # nothing follows: its rows need not be kept
            context.rewind(parent.stop)
    if with_texts:
        for entry in entries:
            if (index := first_other(entry, found)) is not None:
                place = places[entry.id]
                how = formats[entry.noted.call_grammar]
                found.texts[entry.id] = _own_text(entry, by_id, index, place, tree, how)
    return found


def first_other(entry: Entry, found: Walk) -> int | None:
    """Return the index in the entry of the first token that is drawn differently."""
    chosen = found.chosen.get(entry.id, entry.expected)
    pairs = zip(entry.expected, chosen, strict=True)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), None)


def _check_tokens(entries: Sequence[Entry], model: Model) -> None:
    for entry in entries:
        for token in entry.said:
            if token >= model.n_vocab:
                raise ParameterError(
                    f"token {token} of checkpoint {entry.id[:7]} is not among the "
                    f"{model.n_vocab:,} of {model.name!r}, which has another vocabulary"
                )


def _follow(
    entry: Entry, chooser: Chooser | None, context: Context, found: Walk, *, finds_end: bool
) -> None:
    """Force an entry's tokens, and note how likely each is and what would be drawn."""
    is_drawn = entry.sampling is not None
    steps, chosen = [], []
    for token in entry.tokens:
        logits = context.logits
        if chooser is not None:
            chosen.append(chooser.choose(logits, context.token_count()))
            if not chooser.force(token):
                chooser = None  # nothing can be drawn behind it, so all is taken as it is
        elif is_drawn:
            chosen.append(token)
        steps.append(step_at(logits, token))
        context.evaluate([token])
    end = entry.end
    finds_end = finds_end and entry.noted.is_finished
    if chooser is not None and (finds_end or end is not None):
        logits = context.logits
        drawn = chooser.choose(logits, context.token_count())
        if finds_end and context.model.vocabulary.is_end(drawn):
            end = found.ends[entry.id] = drawn
        if end is not None:
            chosen.append(drawn)
            steps.append(step_at(logits, end))
    elif end is not None:
        chosen.append(end)
        steps.append(step_at(context.logits, end))
    found.steps[entry.id] = tuple(steps)
    if is_drawn:
        found.chosen[entry.id] = tuple(chosen)


def _chooser(
    entry: Entry, by_id: Mapping[str, Entry], context: Context, answer_format: AnswerFormat
) -> Chooser | None:
    sampling = entry.sampling
    if sampling is None:
        return None
    return Chooser(
        *(context.model.vocabulary, sampling, entry.noted.sibling, entry.limits),
        *(context.tokens, context.n_ctx, _carried(entry, by_id, sampling, 0)),
        *(answer_format, _n_said(entry, by_id), _n_own(entry, by_id)),
    )


def _n_said(entry: Entry, by_id: Mapping[str, Entry]) -> int:
    """The number of the answer's tokens in front of an entry."""
    n, at = 0, entry
    while at.noted.continues and at.parent is not None:
        at = by_id[at.parent]
        n += len(at.tokens)
    return n


def _n_own(entry: Entry, by_id: Mapping[str, Entry]) -> int:
    """The number of these that were generated at once with an entry, and cut off since."""
    n, at = 0, entry
    while at.parent is not None and (before := by_id.get(at.parent)) is not None:
        if not at.noted.goes_on_from(before.noted):
            break
        at, n = before, n + len(before.tokens)
    return n


def _carried(
    entry: Entry, by_id: Mapping[str, Entry], sampling: SamplingParams, index: int
) -> SamplerState | None:
    """What the recorded sampler carried up to a token of an entry."""
    states = entry.noted.sampler_states
    n_behind = len(entry.tokens) - index
    return carried(_notes_before(entry, by_id), sampling, states[: max(0, len(states) - n_behind)])


def _notes_before(entry: Entry, by_id: Mapping[str, Entry]) -> Iterator[Notes]:
    at = entry
    while at.noted.continues and at.parent is not None:
        at = by_id[at.parent]
        yield at.noted


def step_at(logits: Logits, token: int) -> Step:
    """What is noted of a token; the logits are used up."""
    shifted = logits - logits.max()
    total = np.log(np.exp(shifted, out=logits).sum())
    own, top = float(shifted[token] - total), []
    for _ in range(min(_N_TOP, shifted.size)):  # this takes a tenth of the time of a partition
        likeliest = int(shifted.argmax())
        top.append((likeliest, float(shifted[likeliest] - total)))
        shifted[likeliest] = -np.inf
    return Step(own, tuple(top))


def _stand_inside(tree: CheckpointTree, place: Checkpoint, n_tokens: int) -> None:
    """Let the context hold the first tokens of an answer, evaluated one by one as it was."""
    context = tree.context
    if context.memory_kind.can_cut:
        tree.checkout(place)
        context.rewind(place.start + n_tokens)
        return
    assert place.parent is not None
    tree.checkout(place.parent)
    context.adapters = context.known_adapters.of(place.metadata.adapters)
    for token in place.tokens[:n_tokens]:
        context.evaluate([token])


def _own_text(
    entry: Entry,
    by_id: Mapping[str, Entry],
    index: int,
    place: Checkpoint,
    tree: CheckpointTree,
    answer_format: AnswerFormat,
) -> str:
    """What is said here from a token on."""
    context, sampling = tree.context, entry.sampling
    assert sampling is not None
    has_grammar = sampling.grammar is not None or sampling.json_schema is not None
    begin = 0 if has_grammar else index  # a grammar has to be followed from its start
    _stand_inside(tree, place, begin)
    limit = len(entry.said) - begin + (index == len(entry.tokens)) * _LOOK_AHEAD
    said = context.generate(
        None,
        limit,
        sampling=sampling,
        sibling=entry.noted.sibling,
        sampler_state=_carried(entry, by_id, sampling, begin),
        reasoning_budget=entry.limits.reasoning_budget,
        answer_format=answer_format,
        n_said=_n_said(entry, by_id) + begin,
    )
    tokens = [token.id for token in said.tokens[index - begin :]]
    if said.finish_reason == "stop" and len(tokens) < limit:
        tokens.append(context.model.vocabulary.eos or 0)
    return context.model.detokenize(tokens, special=True)
