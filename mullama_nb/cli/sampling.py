"""Options of commands that sample tokens: one for each field of ``SamplingParams``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..engine.sampling.params import SAMPLERS

__all__ = ["sampling_options"]

F = TypeVar("F", bound=Callable[..., Any])

_SCALARS: tuple[tuple[str, type, str], ...] = (
    ("seed", int, "Seed of the draws; 0 by default."),
    ("temperature", float, "0 takes the most likely token."),
    ("dynamic_temperature_range", float, "How far an even distribution raises the temperature."),
    ("dynamic_temperature_exponent", float, "Power of the entropy that does."),
    ("top_k", int, "Keep the k most likely; 0 keeps all."),
    ("top_p", float, "Keep the most likely up to this probability; 1 keeps all."),
    ("min_p", float, "Keep those of this share of the likeliest's probability; 0 keeps all."),
    ("typical_p", float, "Keep the typical ones up to this probability; 1 keeps all."),
    ("top_n_sigma", float, "Keep logits this many deviations from the highest; 0 keeps all."),
    ("xtc_probability", float, "How often to exclude the top choices."),
    ("xtc_threshold", float, "Probability from which tokens are top choices."),
    ("repetition_penalty", float, "1 does nothing."),
    ("frequency_penalty", float, "0 does nothing."),
    ("presence_penalty", float, "0 does nothing."),
    ("penalty_window", int, "Tokens that penalties consider; -1 for all."),
    ("dry_multiplier", float, "Strength of DRY against repetitions; 0 does nothing."),
    ("dry_base", float, "What DRY's strength grows by with each repeated token."),
    ("dry_allowed_length", int, "Length from which DRY counts a repetition."),
    ("dry_window", int, "Tokens that DRY considers; -1 for all."),
    ("mirostat", int, "1 or 2 for that version of Mirostat."),
    ("mirostat_tau", float, "Mirostat's target surprise, in bits."),
    ("mirostat_eta", float, "Mirostat's learning rate."),
    ("adaptive_p_target", float, "Probability near which adaptive-p draws."),
    ("adaptive_p_decay", float, "Decay of adaptive-p's moving average."),
)


def sampling_options(command: F) -> F:
    """Add the options for sampling tokens to a command."""
    options = [
        click.option(f"--{name.replace('_', '-')}", type=kind, help=text)
        for name, kind, text in _SCALARS
    ]
    options += [
        click.option(
            "--dry-sequence-breaker",
            "dry_sequence_breakers",
            multiple=True,
            callback=_or_none,
            help="Text that no repetition reaches across; can be given several times.",
        ),
        click.option(
            "--samplers",
            callback=_names,
            help=f"Their order, with commas between them; {','.join(SAMPLERS)} by default.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _or_none(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...] | None:
    return given or None


def _names(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]
