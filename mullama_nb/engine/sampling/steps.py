"""Choosing a token once more, with every step seen: the code that draws, on the same logits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...errors import GrammarError
from ..answers.chooser import Chooser
from ..decoder import Logits
from ..vocabulary import Vocabulary
from .adaptive import CANDIDATE, SamplerState
from .choice import Candidate, Choice, ChoiceStep, Draw, How, Stretch
from .params import SamplingParams

__all__ = ["choice_given", "choice_made", "drawn_number"]

_MOST = 40  # candidates of a step
_ROUNDING = 1e-6  # of sums of float32 probabilities

Candidates = npt.NDArray[np.void]


def drawn_number(seed: int) -> float:
    """Return the number that llama.cpp's samplers draw with a seed.

    It is ``std::uniform_real_distribution<double>`` on ``std::mt19937``, of which C++ libraries
    make 53 bits from two numbers of 32, the lower half first. The samplers cannot be asked for it.

    Parameters
    ----------
    seed : int
        32 bits.
    """
    low, high = np.random.RandomState(seed).randint(0, 2**32, 2, np.uint32).tolist()
    return float(min((low + high * 2.0**32) / 2.0**64, 1 - 2.0**-53))


def choice_given(
    vocabulary: Vocabulary, logits: Logits | None, position: int, token: int, note: str
) -> Choice:
    """Return the choice of a token that was not the model's.

    Parameters
    ----------
    vocabulary : Vocabulary
    logits : ndarray of float32, shape (n_vocab,), optional
        None where nothing lies in front of the token.
    position : int
        Tokens in front of it.
    token : int
    note : str
        Who gave it.
    """
    told = _Told(vocabulary)
    model = () if logits is None else told.likeliest(_all(logits))
    return Choice(token, told.text(token), position, "given", note, model)


def choice_made(
    vocabulary: Vocabulary,
    sampling: SamplingParams,
    choosers: Callable[[int], Chooser],
    sibling: int,
    logits: Logits,
    position: int,
    token: int,
    doubt: str,
) -> Choice:
    """Choose a token once more, and return how it was chosen.

    Parameters
    ----------
    vocabulary : Vocabulary
    sampling : SamplingParams
        With a seed.
    choosers : callable
        Returns a new chooser for the ordinal of a sibling; it has followed the answer up to here.
    sibling : int
        The answer's ordinal.
    logits : ndarray of float32, shape (n_vocab,)
    position : int
        Tokens in front of the token.
    token : int
        The one that was chosen.
    doubt : str
        Why these logits may give another one.
    """
    told, chooser = _Told(vocabulary), choosers(sibling)
    state, seen = chooser.sampler_state, _Seen()
    chooser.show(seen)
    model = told.likeliest(_all(logits))
    notes, found = [], None
    try:
        found = chooser.choose(logits, position)
    except GrammarError as error:  # which it was not for the logits of its time
        notes.append(f"{error}: {doubt}")
    if chooser.is_forced and found == token:
        return Choice(token, told.text(token), position, "forced", chooser.why, model)
    if seen.refused is not None:
        notes.append(f"the grammar did not take {told.text(seen.refused)!r}, which came first")
    if found is not None and found != token:
        notes.append(f"from these logits it would be {told.text(found)!r}: {doubt}")
    steps = _steps(seen, told, sampling, state)
    draw = None
    if found == token and seen.drawn is not None:
        after, seen_after = choosers(sibling + 1), _Seen()
        after.show(seen_after)
        next_token = None
        with contextlib.suppress(GrammarError):  # its XTC may leave nothing that continues it
            next_token = after.choose(logits, position)
        draw = _draw(seen, seen_after, next_token, told)
        if draw is None:
            notes.append("the C++ library here makes its random numbers in another way")
    how: How = "likeliest" if sampling.temperature == 0 else "drawn"
    return Choice(token, told.text(token), position, how, "; ".join(notes), model, steps, draw)


class _Seen:
    """What was seen of a choice, from its last beginning on."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Candidates]] = []
        self.drawn: tuple[Candidates, int] | None = None
        self.seed = 0
        self.refused: int | None = None

    def begin(self, candidates: Candidates) -> None:
        self.steps, self.drawn = [("", candidates.copy())], None

    def step(self, name: str, candidates: Candidates) -> None:
        self.steps.append((name, candidates.copy()))

    def draw(self, candidates: Candidates, selected: int, seed: int) -> None:
        self.drawn, self.seed = (candidates.copy(), selected), seed

    def refuse(self, token: int) -> None:
        self.refused = token


class _Told:
    """Puts candidates in values."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._texts: dict[int, str] = {}

    def text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._vocabulary.detokenize([token], special=True)
        return self._texts[token]

    def likeliest(
        self, candidates: Candidates, among: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Candidate, ...]:
        """The likeliest candidates, or those among them, with their probabilities."""
        logits = candidates["logit"].astype(np.float64)
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        here = np.arange(logits.size) if among is None else np.flatnonzero(among)
        if here.size > _MOST:  # to sort all of a vocabulary takes longer than to choose
            least = np.partition(logits[here], here.size - _MOST)[here.size - _MOST]
            here = here[logits[here] >= least]
        best = here[np.argsort(-logits[here], kind="stable")][:_MOST]
        pairs = zip(candidates["id"][best].tolist(), weights[best].tolist(), strict=True)
        return tuple(Candidate(token, self.text(token), weight) for token, weight in pairs)


def _all(logits: Logits) -> Candidates:
    candidates = np.zeros(logits.size, CANDIDATE)
    candidates["id"], candidates["logit"] = np.arange(logits.size), logits
    return _possible(candidates)


def _possible(candidates: Candidates) -> Candidates:
    """Without those that a sampler has ruled out by their logits."""
    return candidates[candidates["logit"] > -np.inf]


def _steps(
    seen: _Seen, told: _Told, sampling: SamplingParams, state: SamplerState | None
) -> tuple[ChoiceStep, ...]:
    steps = []
    before = None
    for name, held in seen.steps:
        after = _possible(held)
        if before is not None:
            is_left = np.zeros(seen.steps[0][1].size, np.bool_)
            is_left[after["id"]] = True
            is_gone = ~is_left[before["id"]]
            steps.append(
                ChoiceStep(
                    name,
                    _detail(name, sampling, state),
                    before.size,
                    after.size,
                    told.likeliest(after) if after.size else (),
                    told.likeliest(before, is_gone) if before.size else (),
                )
            )
        before = after
    return tuple(steps)


def _draw(seen: _Seen, after: _Seen, next_token: int | None, told: _Told) -> Draw | None:
    """What was drawn; None where the number is not the one that the samplers drew."""
    assert seen.drawn is not None
    candidates, selected = seen.drawn
    ends = np.cumsum(candidates["p"], dtype=np.float64)
    ends /= ends[-1]
    begins = np.concatenate([[0.0], ends[:-1]])
    number = drawn_number(seen.seed)
    if not begins[selected] - _ROUNDING <= number <= ends[selected] + _ROUNDING:
        return None
    begins[selected] = min(begins[selected], number)
    ends[selected] = max(ends[selected], np.nextafter(number, 2))
    longest = np.argsort(-candidates["p"], kind="stable")[:_MOST]
    bar = tuple(
        Stretch(int(token), told.text(int(token)), float(low), float(high))
        for token, low, high in (
            (candidates["id"][i], begins[i], ends[i]) for i in sorted({selected, *longest.tolist()})
        )
        if high > low
    )
    low, high = float(begins[selected]), float(ends[selected])
    next_number = drawn_number(after.seed)
    next_text = None if next_token is None else told.text(next_token)
    return Draw(number, low, high, next_number, next_token, next_text, bar)


def _detail(name: str, params: SamplingParams, state: SamplerState | None) -> str:
    """The settings of a step, in words."""
    return _DETAILS[name](params, state or ())


def _window(n_tokens: int) -> str:
    return "the whole context" if n_tokens < 0 else f"the last {n_tokens:,} tokens"


def _penalties(params: SamplingParams) -> str:
    given = {
        "repetition": (params.repetition_penalty, 1),
        "frequency": (params.frequency_penalty, 0),
        "presence": (params.presence_penalty, 0),
    }
    said = [f"{name} {value:g}" for name, (value, off) in given.items() if value != off]
    return f"{', '.join(said)}, over {_window(params.penalty_window)}"


def _temperature(params: SamplingParams) -> str:
    middle, spread = params.temperature, params.dynamic_temperature_range
    if not spread:
        return f"{middle:g}"
    return f"{max(0.0, middle - spread):g} to {middle + spread:g}, the more even the higher"


def _adaptive_p(params: SamplingParams, state: SamplerState) -> str:
    assert params.adaptive_p_target is not None
    now = np.clip(2 * params.adaptive_p_target - state[0] / state[1], 0, 1)
    return f"near {now:.3g}, for {params.adaptive_p_target:g} on average"


_DETAILS: dict[str, Callable[[SamplingParams, SamplerState], str]] = {
    "grammar": lambda *_: "what continues it",
    "logit_bias": lambda p, _: f"of {len(p.logit_bias)} token{'s' * (len(p.logit_bias) != 1)}",
    "penalties": lambda p, _: _penalties(p),
    "dry": lambda p, _: (
        f"{p.dry_multiplier:g} times {p.dry_base:g} ^ (length - {p.dry_allowed_length}), "
        f"over {_window(p.dry_window)}"
    ),
    "top_n_sigma": lambda p, _: f"within {p.top_n_sigma:g} sigma of the highest logit",
    "top_k": lambda p, _: f"the {p.top_k:,} likeliest",
    "typical_p": lambda p, _: f"the most typical that make up {p.typical_p:g}",
    "top_p": lambda p, _: f"the likeliest that make up {p.top_p:g}",
    "min_p": lambda p, _: f"at least {p.min_p:g} of the likeliest",
    "xtc": lambda p, _: (
        f"without those above {p.xtc_threshold:g} but the last, in {p.xtc_probability:g} of cases"
    ),
    "temperature": lambda p, _: _temperature(p),
    "mirostat": lambda p, state: (
        f"version {p.mirostat}, up to {state[0]:.3g} bits of surprise, for {p.mirostat_tau:g} "
        "on average"
    ),
    "adaptive_p": _adaptive_p,
}
