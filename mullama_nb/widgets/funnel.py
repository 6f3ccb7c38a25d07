"""How a choice is drawn: one bar of probabilities for each step of the sampler chain.

Each bar is 1 wide. What a step leaves fans out from the bar above; what it takes away ends there.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.sampling.choice import Candidate, Choice, Draw
from ..signs import signs
from .format import percent

__all__ = ["Bar", "Segment", "draw_funnel", "funnel_message", "lay_out_funnel", "told"]

_MOST_CHARACTERS = 24
_TITLES = {
    "model": "Model",
    "penalties": "Penalties",
    "dry": "DRY",
    "top_n_sigma": "Top-n-sigma",
    "top_k": "Top-k",
    "typical_p": "Typical-p",
    "top_p": "Top-p",
    "min_p": "Min-p",
    "xtc": "XTC",
    "temperature": "Temperature",
    "grammar": "Grammar",
    "logit_bias": "Logit bias",
    "mirostat": "Mirostat",
    "adaptive_p": "Adaptive-p",
    "draw": "Draw",
}
_HOW = {
    "drawn": "was drawn",
    "likeliest": "is the likeliest; no number was drawn",
    "forced": "was forced",
    "given": "was given, not chosen by the model",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a bar that belongs to a token.

    Attributes
    ----------
    token : int
    text : str
        With signs for what is not seen.
    low, high : float
        Where it begins and ends, from 0 to 1.
    above : int
        Index of its segment in the bar above; -1 for none.
    is_kept : bool
        Whether the next step leaves it.
    """

    token: int
    text: str
    low: float
    high: float
    above: int = -1
    is_kept: bool = True

    @property
    def share(self) -> float:
        """Its probability."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Bar:
    """The candidates after a step.

    Attributes
    ----------
    title, detail : str
        What the step is, and its settings.
    segments : tuple of Segment
        From left to right; between and behind them are candidates that are not listed.
    n : int or None
        Candidates that there are; None where that is not known.
    n_before : int or None
        Candidates that there were before.
    removed : tuple of Segment
        What the step took away, the likeliest first, as wide as it was before.
    """

    title: str
    detail: str
    segments: tuple[Segment, ...]
    n: int | None = None
    n_before: int | None = None
    removed: tuple[Segment, ...] = ()


def lay_out_funnel(choice: Choice) -> list[Bar]:
    """Return a bar for the model, for each step, and for the draw.

    Parameters
    ----------
    choice : Choice
    """
    if not choice.model:
        return []
    n = choice.steps[0].before if choice.steps else None
    bars = [Bar(_TITLES["model"], "what it gives each token", _segments(choice.model), n)]
    for step in choice.steps:
        gone = {each.token for each in step.removed}
        bars[-1] = _without(bars[-1], gone)
        segments = _below(bars[-1], _segments(step.candidates))
        title = _TITLES.get(step.name, step.name)
        removed = _segments(step.removed)
        bars.append(Bar(title, step.detail, segments, step.after, step.before, removed))
    if choice.draw is not None:
        bars.append(_bar_of_draw(choice.draw, bars[-1]))
    return bars


def told(choice: Choice) -> tuple[str, str]:
    """Return a token, with signs, and in words how it came about.

    Parameters
    ----------
    choice : Choice
    """
    said = _HOW.get(choice.how, choice.how)
    return _text(choice.text), f"{said}: {choice.note}" if choice.note else said


def funnel_message(choice: Choice) -> dict[str, Any]:
    """Return what views are told of a choice.

    Parameters
    ----------
    choice : Choice
    """
    text, words = told(choice)
    draw = choice.draw
    return {
        "token": choice.token,
        "text": text,
        "words": words,
        "position": choice.position,
        "bars": [
            [
                *(bar.title, bar.detail, bar.n, bar.n_before),
                [_sent(each) for each in bar.segments],
                [[each.text, _rounded(each.share)] for each in bar.removed],
            ]
            for bar in lay_out_funnel(choice)
        ],
        "draw": None if draw is None else _sent_draw(draw),
    }


def _sent_draw(draw: Draw) -> list[Any]:
    text = None if draw.next_text is None else _text(draw.next_text)
    return [_rounded(draw.number), _rounded(draw.next_number), text]


def _sent(segment: Segment) -> list[Any]:
    place = _rounded(segment.low), _rounded(segment.high)
    return [segment.token, segment.text, *place, segment.above, int(segment.is_kept)]


def _rounded(share: float) -> float:
    return round(share, 6)


def _segments(candidates: Iterable[Candidate]) -> tuple[Segment, ...]:
    found, low = [], 0.0
    for each in candidates:
        high = min(low + each.probability, 1.0)
        found.append(Segment(each.token, _text(each.text), low, high))
        low = high
    return tuple(found)


def _text(text: str) -> str:
    return signs(text, most=_MOST_CHARACTERS) or "∅"


def _without(bar: Bar, gone: set[int]) -> Bar:
    marked = (replace(s, is_kept=s.token not in gone) for s in bar.segments)
    return replace(bar, segments=tuple(marked))


def _below(bar: Bar, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    places = {each.token: i for i, each in enumerate(bar.segments)}
    return tuple(replace(each, above=places.get(each.token, -1)) for each in segments)


def _bar_of_draw(draw: Draw, last: Bar) -> Bar:
    segments = [Segment(each.token, _text(each.text), each.low, each.high) for each in draw.bar]
    return Bar(_TITLES["draw"], f"the number is {draw.number:.4f}", _below(last, segments))


# -- the picture for readers without a kernel ------------------------------------------------

_WIDTH, _BAR, _STEP = 720, 22, 52
_TOP = 20
_LETTER = 7.0  # pixels of a character, to see whether a text fits
_BRAND = "var(--jp-brand-color1, #1976d2)"
_INK = "var(--jp-ui-font-color1, #212121)"
_MUTED = "var(--jp-ui-font-color2, #616161)"
_PAPER = "var(--jp-layout-color1, #ffffff)"


def draw_funnel(choice: Choice) -> str:
    """Return the bars as SVG.

    Parameters
    ----------
    choice : Choice
    """
    bars = lay_out_funnel(choice)
    height = _STEP * len(bars) + 18 * (choice.draw is not None)
    name = html.escape(" ".join(told(choice)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}" font-size="12" '
        'font-family="var(--jp-ui-font-family, system-ui, sans-serif)">'
    ]
    for i, bar in enumerate(bars):
        y = _TOP + _STEP * i
        if i:
            parts += _fans(bars[i - 1], bar, y, choice.token)
        parts.append(_heading(bar, y))
        parts += (_box(each, y, each.token == choice.token) for each in bar.segments)
    if choice.draw is not None:
        parts.append(_needle(choice.draw, _TOP + _STEP * (len(bars) - 1)))
    return "".join(parts) + "</svg>"


def _fans(above: Bar, bar: Bar, y: float, chosen: int) -> Iterator[str]:
    top, bottom = y - _STEP + _BAR, y
    for each in bar.segments:
        if each.above >= 0:
            before = above.segments[each.above]
            corners = [
                (before.low, top),
                (before.high, top),
                (each.high, bottom),
                (each.low, bottom),
            ]
            points = " ".join(f"{_WIDTH * x:.5g},{at:g}" for x, at in corners)
            opacity = 0.24 if each.token == chosen else 0.08
            yield f'<polygon points="{points}" fill="{_BRAND}" fill-opacity="{opacity}"/>'


def _heading(bar: Bar, y: float) -> str:
    steps = [bar.n] if bar.n == bar.n_before else [bar.n_before, bar.n]
    numbers = [f"{n:,}" for n in steps if n is not None]
    return (
        f'<text x="4" y="{y - 6}" fill="{_INK}"><tspan font-weight="600">{html.escape(bar.title)}'
        f'</tspan><tspan dx="8" fill="{_MUTED}">{html.escape(bar.detail)}</tspan></text>'
        f'<text x="{_WIDTH - 4}" y="{y - 6}" text-anchor="end" fill="{_MUTED}">'
        f"{' → '.join(numbers)}</text>"
    )


def _box(segment: Segment, y: float, is_chosen: bool) -> str:
    x, width = _WIDTH * segment.low, _WIDTH * segment.share
    opacity = 1 if is_chosen else 0.25 if segment.is_kept else 0.08
    title = f"{segment.text} {percent(segment.share)}"
    inner = ""
    if len(segment.text) * _LETTER + 8 < width:
        style = f'fill="{_PAPER if is_chosen else _INK if segment.is_kept else _MUTED}"'
        struck = "" if segment.is_kept else ' text-decoration="line-through"'
        inner = (
            f'<text x="{x + 5:.5g}" y="{y + 15}" {style}{struck}>{html.escape(segment.text)}</text>'
        )
    return (
        f'<g><title>{html.escape(title)}</title><rect x="{x:.5g}" y="{y}" '
        f'width="{max(width - 1, 0.3):.4g}" height="{_BAR}" fill="{_BRAND}" '
        f'fill-opacity="{opacity}"/>{inner}</g>'
    )


def _needle(draw: Draw, y: float) -> str:
    x = _WIDTH * draw.number
    anchor = "start" if draw.number < 0.1 else "end" if draw.number > 0.9 else "middle"
    return (
        f'<path d="M{x:.5g} {y - 4}v{_BAR + 8}" stroke="{_INK}" stroke-width="2"/>'
        f'<text x="{x:.5g}" y="{y + _BAR + 17}" text-anchor="{anchor}" fill="{_INK}">'
        f"{draw.number:.4f}</text>"
    )
