"""Replaying a recording on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.adapters.values import Adapter, checked_adapters
from ..engine.context import Context
from ..engine.files.gguf_file import fingerprint
from ..engine.files.locate import known_models, locate_model
from ..engine.model import Model
from ..engine.options import lists_context
from ..engine.stored import check_room
from ..errors import ModelNotFoundError, ParameterError
from .adapters import adapters_beside, with_adapters
from .comparison import forced, made_report, names_of
from .reading import read
from .recording import Recording, context_params
from .report import Report
from .rule import MARGIN, TOLERANCE, Rule
from .walk import fitting_params, longest_path, vocabulary_digest, walk
from .wording import rendered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.options import ContextOptions

__all__ = ["find_model", "replay"]


@lists_context
def replay(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] | Model | None = None,
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
    adapters: Sequence[Adapter] = (),
    **options: Unpack[ContextOptions],
) -> Report:
    """Replay a recording here and report the differences.

    The recorded tokens are forced, path by path; for each, its probability here is noted, and which
    token would be drawn.

    Parameters
    ----------
    path : str or path
    model : str, path or Model, optional
        None: the model known here by the name in the recording.
    level : {"exact", "near-ties", "probabilities"}
        Equal to the bit, which needs the same build and class of machine; other tokens only where
        rounding decides; every recorded token about as likely as before, which holds on any CPU.
    margin : float
        Of probability, between the two tokens of a near-tie; see the notes.
    tolerance : float
        Of a token's log-probability, in nats; see the notes.
    adapters : sequence of LoRA and ControlVector
        To have at hand for what it was made with, besides files beside it that are called as its
        adapters were, such as ``style.gguf``.
    **options
        Fields of ``ContextParams`` that replace the recorded ones.

    Returns
    -------
    Report

    Raises
    ------
    RecordingError
        When the file is damaged.
    ModelNotFoundError
        When no model is known by the recorded name.
    ParameterError
        When the model has another vocabulary.
    AdapterError
        When an adapter that it was made with is not at hand.

    Notes
    -----
    The effect of rounding was measured with SmolLM2-135M Q4_1 on one x86-64 CPU with AVX-512: five
    conversations of eight questions, 289 to 486 generated tokens each and 1,925 in all, at
    temperatures 0, 0.8 and 1, replayed with other numbers of threads and batch sizes and without
    flash attention; and the first two of them with other cache types.

    ===========================  ==================  =======================  ============
    against two threads, f16     largest difference  mean difference          largest gap
    ===========================  ==================  =======================  ============
    1, 3 and 4 threads           0.58 nats           0.015 to 0.031           0.09
    ``n_batch=1``                0.70 nats           0.011 to 0.025           0.12
    without flash attention      0.64 nats           0.031 to 0.051           0.13
    ``kv_cache_type="q8_0"``     0.72 nats           0.038 to 0.049           0.21
    ``kv_cache_type="q4_0"``     4.92 nats           0.175 to 0.187           0.63
    ===========================  ==================  =======================  ============

    The default tolerance of 1.0 and margin of 0.2 lie above all effects of rounding, and below the
    effect of q4_0 on some token of a long conversation. The mean difference, in the report's
    ``quality``, tells the two apart in a short one.
    """
    rule = Rule(level, margin, tolerance)
    there = read(path)
    at_hand = [*adapters_beside(Path(path), there.entries), *checked_adapters(adapters)]
    return replayed(there, model, rule, options, adapters=at_hand)


def replayed(
    there: Recording,
    model: str | os.PathLike[str] | Model | None,
    rule: Rule,
    options: Mapping[str, Any],
    problems: Sequence[str] = (),
    adapters: Sequence[Adapter] = (),
) -> Report:
    """Return what :func:`replay` reports on a recording."""
    params = context_params(there, **options)
    if model is None:
        model = find_model(there)
    loaded = model if isinstance(model, Model) else Model.load(model)
    check_vocabulary(there, loaded)
    params = fitting_params(there.entries, loaded, params)
    check_room(loaded, params, longest_path(there.entries))
    with Context(loaded, params) as context:
        here = context.session_metadata
        context.known_adapters.offer(adapters)
        found = walk(there.entries, context, there.template_options, with_texts=True)

    def decode(tokens: Sequence[int]) -> str:
        return loaded.detokenize(tokens, special=True)

    names = names_of(there)
    is_same_file = loaded.fingerprint == there.settings.get("fingerprint")
    said = (
        rendered(there.entries, loaded, there.system, there.template_options)
        if is_same_file
        else {}
    )
    problems = [
        *problems,
        *(
            f"checkpoint {names[entry.id]}: its message, or one before it, was changed, and is "
            "not what its tokens say"
            for entry in there.entries
            if entry.is_rendered != said.get(entry.id, entry.is_rendered)
        ),
        *(
            f"checkpoint {names[entry.id]}: its text was changed, and is not what its tokens say"
            for entry in there.entries
            if entry.text != decode(entry.tokens)
        ),
    ]
    reports = [
        forced(
            entry,
            found.steps.get(entry.id, ()),
            found.chosen.get(entry.id, entry.expected),
            rule,
            names[entry.id],
            found.texts.get(entry.id),
            decode,
            found.after.get(entry.id, ()),
        )
        for entry in there.entries
        if entry.steps or entry.after
    ]
    pairs = [
        pair
        for entry in there.entries
        for pair in zip(entry.steps, found.steps.get(entry.id, ()), strict=True)
    ]
    settings = with_adapters(here["settings"], there.entries)
    return made_report(there, settings, here["environment"], rule, reports, pairs, problems)


def check_vocabulary(recording: Recording, model: Model) -> None:
    """Check that a model has the recorded vocabulary.

    Raises
    ------
    ParameterError
        When the model has another vocabulary.
    """
    if vocabulary_digest(model) != recording.vocabulary:
        raise ParameterError(
            f"{model.name!r} has another vocabulary than {recording.model!r}, which the recording "
            "was made with, so their tokens cannot be compared; record it with this model, too"
        )


def find_model(recording: Recording) -> Model:
    """Load the model of a recording, if it is known on this machine.

    Raises
    ------
    ModelNotFoundError
        When no model here has its name or fingerprint.
    """
    return Model.load(find_name(recording))


def find_name(recording: Recording) -> str:
    """Return the name that the model of a recording has on this machine.

    Raises
    ------
    ModelNotFoundError
        When no model here has its name or fingerprint.
    """
    found = {name: locate_model(name) for name in known_models()}
    for name, path in found.items():
        if recording.model in (name, path.stem):
            return name
    for name, path in found.items():
        if fingerprint(path) == recording.settings.get("fingerprint"):
            return name
    raise ModelNotFoundError(
        f"the recording was made with {recording.model!r}, which is not known here; name a model "
        f"or its path. Known here: {', '.join(found) or 'none'}"
    )
