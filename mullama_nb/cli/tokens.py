"""Tokens of an answer as lines: their number, probability and text."""

from __future__ import annotations

from math import exp

import click

from ..history.turn import Turn

__all__ = ["print_alternatives", "print_tokens"]


def print_tokens(turn: Turn) -> None:
    """Print the tokens of an answer with their probabilities, each on a line."""
    model = turn.chat.model
    for i, (token, logprob) in enumerate(zip(turn.tokens, turn.logprobs, strict=True)):
        click.echo(f"{i:5} {_percent(exp(logprob))}  {model.detokenize([token], special=True)!r}")


def print_alternatives(turn: Turn, token: int) -> None:
    """Print what a token could have been, the likeliest first; a star marks what it is."""
    found = turn.alternatives(token)
    for each in found:
        mark = "*" if each.id == turn.tokens[token] else ""
        click.echo(f"{mark:>5} {_percent(each.probability)}  {each.text!r}")


def _percent(probability: float) -> str:
    return f"{100 * probability:5.1f} %"
